//! Carries a night out: forges that stand by, people who open issues, blows to the services, and the wait for its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use http::Method;
use tokio::time::Instant;
use uuid::Uuid;

use super::check::check;
use super::plan::{Blow, Plan, Planned};
use super::script::{PLAY_SETTING, Stage};
use super::{reported, repository};
use crate::forges::{Fault, Gitea, Plane, Treat, plane};
use crate::harness::{SECRET, Service, Stack, until};
use crate::history;

/// The built-in pipeline, with the gate `ci` behind the review in place of a trigger.
const PIPELINE: &str = include_str!("pipeline.toml");
/// Its prompts are the built-in ones.
const PROMPTS: [(&str, &str); 6] = [
    ("analyst.md", include_str!("../../../shared/domain/src/pipeline/prompts/analyst.md")),
    ("architect.md", include_str!("../../../shared/domain/src/pipeline/prompts/architect.md")),
    ("developer.md", include_str!("../../../shared/domain/src/pipeline/prompts/developer.md")),
    ("reviewer.md", include_str!("../../../shared/domain/src/pipeline/prompts/reviewer.md")),
    ("tester.md", include_str!("../../../shared/domain/src/pipeline/prompts/tester.md")),
    ("deployer.md", include_str!("../../../shared/domain/src/pipeline/prompts/deployer.md")),
];
/// How long nothing may come of a night that is not over: the longest of its waits are of seconds.
const STILL_FOR: Duration = Duration::from_mins(3);
/// The longest wait for the reconciler to look through both forges once.
const FIRST_WALKS_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks at the night.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long nothing may be left to do before the night is over.
const QUIET_FOR: Duration = Duration::from_secs(2);
/// Requests of one key in a span of time: less than the night would like.
const PLANE_LIMIT: (u32, Duration) = (150, Duration::from_secs(5));
/// What goes wrong with the forges' answers: how often, and whether it was done all the same.
const FAULTS: [(&str, Fault, u32); 11] = [
    ("/git-receive-pack", Fault::DropAfter, 2),
    ("/git-receive-pack", Fault::Status(502), 2),
    ("/pulls", Fault::DropAfter, 2),
    ("/pulls", Fault::Status(500), 2),
    ("/comments", Fault::DropAfter, 4),
    ("/statuses", Fault::DropAfter, 4),
    ("/comments", Fault::Status(500), 3),
    ("/statuses", Fault::Status(502), 3),
    ("/comments", Fault::StatusAfter(503), 3),
    ("/comments", Fault::Limited(1), 2),
    ("/statuses", Fault::DropBefore, 2),
];

const COUNTS: &str = "SELECT count(*) AS jobs, count(*) FILTER (WHERE status IN ('queued', 'running')) AS unfinished, \
    (SELECT count(*) FROM outbox WHERE status = 'pending' AND sink IN ('plane', 'gitea')) AS untold FROM jobs";

/// How many forges the reconciler has looked through once: what is there by then is no news.
const WALKED: &str =
    "SELECT count(*) AS listings FROM cursors WHERE json_extract(cursor, '$.since') IS NOT NULL";

/// Waits until the reconciler knows what was there before the night.
async fn first_walks(database: &Path) -> anyhow::Result<()> {
    #[derive(serde::Deserialize)]
    struct Walked {
        listings: usize,
    }
    until("the reconciler's first walks", FIRST_WALKS_WITHIN, || async {
        let walked: Vec<Walked> = history::rows(database, WALKED).await?;
        Ok(walked.first().is_some_and(|walked| walked.listings == 2).then_some(()))
    })
    .await
}

/// How far a night is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
struct Counts {
    jobs: usize,
    unfinished: usize,
    untold: usize,
}

/// A night under way.
#[derive(Debug)]
pub struct Night {
    stack: Stack,
    stage: Stage,
    plane: Plane,
    gitea: Gitea,
    /// By key.
    planned: BTreeMap<String, Planned>,
    plan: Plan,
    /// Pushed commits: when their tests began, and whether they are over.
    tested: BTreeMap<String, (Instant, bool)>,
    blows: Vec<Blow>,
    _room: tempfile::TempDir,
}

impl Night {
    /// Starts the services and the forges, and has people open the issues.
    ///
    /// # Errors
    /// A part does not start.
    pub async fn begin(plan: Plan) -> anyhow::Result<Self> {
        let room = tempfile::tempdir()?;
        let stage = Stage::create(room.path().join("play"))?;
        let project = plane::Project {
            slug: "acme".to_owned(),
            workspace: Uuid::from_u128(1),
            id: Uuid::from_u128(2),
            identifier: "SHOP".to_owned(),
        };
        let toml = |gitea: &Gitea, plane: &Plane| {
            let project = format!(
                "[identity]\ngitea_user_id = {}\nplane_user_id = \"{}\"\n\n[[project]]\nname = \"shop\"\ngitea_repo = \"acme/shop\"\n\
                 plane_workspace = \"acme\"\nplane_workspace_id = \"{}\"\nplane_project_id = \"{}\"\nplane_identifier = \"SHOP\"\n\
                 clone_url = \"{}\"\n\n[project.report]\non_stage = {{ analysis = \"started\" }}\non_done = \"completed\"\non_needs_you = \"unstarted\"\n",
                gitea.orch().id,
                plane.orch().id,
                project.workspace,
                project.id,
                gitea.clone_url(),
            );
            format!("{project}\n{PIPELINE}")
        };
        let (plane, gitea) = (Plane::start(project.clone()).await?, Gitea::start("acme/shop").await?);
        repository::begin(room.path()).await?;
        gitea.attach(&room.path().join("shop.git")).await?;
        plane.set_rate_limit(Some(PLANE_LIMIT));
        for (path, fault, times) in FAULTS {
            plane.faults().next(Method::POST, path, fault, times);
            gitea.faults().next(Method::POST, path, fault, times);
        }
        let builder = PROMPTS.iter().fold(Stack::builder(), |builder, (name, text)| builder.file(name, text));
        let stack = builder
            .orch_toml(&toml(&gitea, &plane))
            .env(PLAY_SETTING, &stage.folder().to_string_lossy())
            .env("ORCH_AGENT_ENV", &format!("ORCH_E2E,{PLAY_SETTING}"))
            .env("ORCH_PLANE_API_URL", &plane.url())
            .env("ORCH_PLANE_API_KEY", &plane.orch().key)
            .env("ORCH_GITEA_API_URL", &gitea.url())
            .env("ORCH_GITEA_TOKEN", &gitea.orch().token)
            .env("ORCH_GIT_TOKEN", &gitea.orch().token)
            .env("ORCH_RECONCILE_INTERVAL", "3s")
            .env("ORCH_RUNNER_SLOTS", "4")
            .env("ORCH_MAX_CONCURRENCY", "8")
            .env("ORCH_BACKOFF_BASE_SECONDS", "1")
            .env("ORCH_BACKOFF_MAX_SECONDS", "1")
            .env("ORCH_QUEUE_POLL_INTERVAL", "500ms")
            .env("ORCH_PREFLIGHT_CACHE_TTL", "1s")
            .runners(2)
            .start()
            .await?;
        first_walks(&stack.folder().join("orch.db")).await?;
        // Late ones are those that something follows: an issue's first words, a push.
        plane.hooks().always(|number| match number {
            _ if number % 8 == 0 => Treat::Later,
            _ if number % 6 == 1 => Treat::Twice,
            _ if number % 10 == 3 => Treat::Replay,
            _ if number % 14 == 5 => Treat::Miss,
            _ => Treat::Send,
        });
        gitea.hooks().always(|number| match number % 9 {
            1 | 4 => Treat::Twice,
            2 => Treat::Replay,
            8 => Treat::Miss,
            _ => Treat::Send,
        });
        for hooks in [plane.hooks(), gitea.hooks()] {
            hooks.send_to(stack.addr(Service::Ingest), SECRET);
        }
        let mut planned = BTreeMap::new();
        for item in &plan.items {
            let key = plane.create_issue(&plane.jane(), item.kind, "<p>The total ignores the discount.</p>");
            stage.give(&key, &item.script)?;
            plane.label_issue(&plane.jane(), &key, &["agent"]);
            planned.insert(key, item.clone());
        }
        let blows = plan.blows.iter().rev().copied().collect();
        Ok(Self { stack, stage, plane, gitea, planned, plan, tested: BTreeMap::new(), blows, _room: room })
    }

    /// Sees the night through to its end and holds it against its plan.
    ///
    /// # Errors
    /// Says what is not as planned, or that it does not end.
    pub async fn see_through(mut self) -> anyhow::Result<()> {
        let (began, expected) = (Instant::now(), self.plan.jobs());
        let mut quiet_since: Option<Instant> = None;
        let (mut seen, mut moved) = (self.jobs().await?, began);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.test_commits();
            let counts = self.jobs().await?;
            let Counts { jobs, unfinished, untold } = counts;
            if counts != seen {
                (seen, moved) = (counts, Instant::now());
            }
            if let Some(blow) = self.blows.pop_if(|blow| blow.after_jobs + unfinished <= jobs) {
                self.strike(blow.victim).await?;
            }
            let at_rest = unfinished == 0 && untold == 0 && jobs >= expected && self.blows.is_empty();
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if !at_rest {
                quiet_since = None;
            } else if since.elapsed() >= QUIET_FOR {
                break;
            }
            if !at_rest && (moved.elapsed() > STILL_FOR || jobs > 2 * expected) {
                let wrong = self.wrong().await?;
                self.stack.keep_folder();
                bail!(
                    "the night of seed {} does not end: {jobs} of {expected} jobs, {unfinished} unfinished, {untold} untold\n{wrong}",
                    self.plan.seed
                );
            }
        }
        let wrong = self.wrong().await?;
        if !wrong.is_empty() {
            self.stack.keep_folder();
            bail!(
                "the night of seed {} is not as planned; it lies in {}:\n{wrong}",
                self.plan.seed,
                self.stack.folder().display()
            );
        }
        eprintln!("seed {}: {expected} jobs in {:?}", self.plan.seed, began.elapsed());
        for service in
            [Service::Scheduler, Service::Ingest, Service::Console, Service::Runner(0), Service::Runner(1)]
        {
            self.stack.process(service).ready().await?;
        }
        self.stack.finish().await
    }

    async fn wrong(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        let mut wrong = check(&self.database(), &self.stage, &self.planned).await?;
        wrong.extend(reported::check(&self.plane, &self.gitea, &self.stage, &self.planned));
        for line in wrong {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- {line}");
        }
        Ok(text)
    }

    fn database(&self) -> PathBuf {
        self.stack.folder().join("orch.db")
    }

    /// All jobs, and what is queued, running, or still to be told to a forge.
    async fn jobs(&self) -> anyhow::Result<Counts> {
        let counts: Vec<Counts> = history::rows(&self.database(), COUNTS).await?;
        counts.first().copied().context("a count has no row")
    }

    /// Tests each pushed commit, as the forge's own runners would: over after a while, red where the plan says so.
    fn test_commits(&mut self) {
        let ci = self.gitea.user("ci");
        for (key, planned) in &self.planned {
            let Some(sha) = self.gitea.branch(&format!("orch/{key}")) else { continue };
            let Some(round) = self.stage.round_of_commit(key, &sha) else { continue };
            let is_red = planned.script.rounds.get(round).is_some_and(|round| round.red);
            let (begun, is_over) = self.tested.entry(sha.clone()).or_insert_with(|| {
                self.gitea.set_status(&ci, &sha, "ci/test", "pending", "under way");
                (Instant::now(), false)
            });
            if !*is_over && begun.elapsed() >= Duration::from_millis(planned.tested_after_ms) {
                *is_over = true;
                let (word, said) =
                    if is_red { ("failure", "2 tests failed") } else { ("success", "all passed") };
                self.gitea.set_status(&ci, &sha, "ci/test", word, said);
            }
        }
    }

    async fn strike(&mut self, victim: Service) -> anyhow::Result<()> {
        self.stack.process(victim).kill().await?;
        self.stack.process(victim).spawn()
    }
}
