//! The pull request: found by its branch, or opened. Whoever asks twice finds the one that was opened first.

use std::io;

use domain::outcome::Outcome;
use domain::steps::{
    PullRequest, PullRequestAsk, StepFacts, StepFault, StepKind, StepState, pull_request_body, pushed_head,
};
use serde::{Deserialize, Serialize};

use super::forge::{Forge, Refused, Told};
use super::persist::{Attempt, Tried, persist};
use super::{Did, push};
use crate::node::{Held, Node};

/// What is meant to be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    base: String,
    head: String,
    /// The pull request that the work item is.
    number: Option<u64>,
}

/// Finds or opens the pull request of what was pushed.
pub(super) async fn pass(
    node: &Node,
    held: &Held,
    ask: &PullRequestAsk,
    outcome: &Outcome,
    before: &[StepFacts],
) -> io::Result<Did> {
    let Some(forge) = &node.forge else {
        let words = "this runner has no ORCH_GITEA_API_URL or no ORCH_GIT_TOKEN";
        return Ok(Did::failed(StepFault::Unconfigured, words));
    };
    let dir = held.dir.clone();
    let (workspace, pushed) =
        service::blocking(move || Ok((dir.workspace()?, dir.step_intent::<push::Intent>(StepKind::Push)?)))
            .await?;
    let (Some(workspace), Some(pushed)) = (workspace, pushed) else {
        return Ok(Did::failed(StepFault::Workspace, "nothing was pushed"));
    };
    let intent = Intent { base: workspace.base, head: pushed.branch, number: pushed.pull_request };
    let (dir, written) = (held.dir.clone(), intent.clone());
    service::blocking(move || dir.write_step_intent(StepKind::PullRequest, &written)).await?;

    let body = pull_request_body(ask, outcome);
    let mut asked = FindOrOpen { forge, ask, intent: &intent, body: &body, found: None };
    let did = persist(node, held, StepKind::PullRequest, &mut asked).await?;
    let pull_request = asked.found.map(|told| PullRequest {
        repo: ask.repo.clone(),
        number: told.number,
        url: told.html_url,
    });
    let commit = pushed_head(before).map(str::to_owned);
    Ok(Did { branch: Some(intent.head), head: commit, pull_request, ..did })
}

struct FindOrOpen<'a> {
    forge: &'a Forge,
    ask: &'a PullRequestAsk,
    intent: &'a Intent,
    body: &'a str,
    found: Option<Told>,
}

#[tonic::async_trait]
impl Attempt for FindOrOpen<'_> {
    async fn attempt(&mut self) -> Tried {
        match find_or_open(self.forge, self.ask, self.intent, self.body).await {
            Ok((told, words)) => {
                self.found = Some(told);
                Tried::Over(Did::new(StepState::Done, &words))
            }
            Err(refused) => refused.tried(),
        }
    }
}

async fn find_or_open(
    forge: &Forge,
    ask: &PullRequestAsk,
    intent: &Intent,
    body: &str,
) -> Result<(Told, String), Refused> {
    let shown = |told: &Told| format!("{}#{}", ask.repo, told.number);
    let there = match intent.number {
        Some(number) => forge.pull_request(&ask.repo, number).await?,
        None => forge.open_of(&ask.repo, &intent.base, &intent.head).await?,
    };
    if let Some(told) = there {
        let words = format!("{} was there", shown(&told));
        return Ok((told, words));
    }
    let told = forge.open(&ask.repo, [&intent.base, &intent.head, &ask.title, body]).await?;
    let words = format!("{} was opened", shown(&told));
    Ok((told, words))
}
