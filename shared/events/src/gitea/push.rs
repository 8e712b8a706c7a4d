//! A push: only to a branch, only one that leaves something there, and not the forge's test delivery.

use domain::launch::{Facts, LaunchEvent, Subject};
use domain::pipeline::{LaunchPoint, Trust};

use super::body::Push;
use super::{actor, branch, place, repo_key, sha, trust};
use crate::Refusal;
use crate::identifier::is_zero_sha;
use crate::observed::{Account, Observed};

/// Most commit messages told.
const MESSAGES_MAX: usize = 20;

pub(super) fn observe(push: &Push) -> Result<Observed, Refusal> {
    let place = place(&push.repository)?;
    let (before, after) = (sha(&push.before)?, sha(&push.after)?);
    let Some(name) = push.reference.strip_prefix("refs/heads/") else {
        branch(&push.reference)?;
        return Ok(Observed::nothing(place));
    };
    let name = branch(name)?;
    let deletes = is_zero_sha(after);
    let is_test = before == after;
    if deletes || is_test {
        return Ok(Observed::nothing(place));
    }

    let author = push.sender.as_ref().or(push.pusher.as_ref());
    let event = LaunchEvent {
        point: LaunchPoint::GiteaPush,
        subject: Subject::Branch(name.to_owned()),
        actor: actor(author),
        trust: trust(author, &push.repository, Trust::Member),
        facts: Facts { branch: Some(name.to_owned()), ..Facts::default() },
        head: Some(after.to_owned()),
        semantic_key: format!("gitea.push:{}:{name}:{before}:{after}", repo_key(&push.repository)),
        sighting: None,
    };
    let messages: Vec<&str> = push
        .commits
        .iter()
        .flatten()
        .filter_map(|commit| commit.message.as_deref())
        .map(str::trim)
        .filter(|message| !message.is_empty())
        .take(MESSAGES_MAX)
        .collect();
    Ok(Observed {
        place,
        sightings: Vec::new(),
        actor: event.actor,
        events: vec![event],
        account: Account {
            title: Some(format!("push to {name}")),
            body: Some(messages.join("\n\n")).filter(|text| !text.is_empty()),
            url: push.compare_url.clone(),
            author: author.and_then(|user| user.login.clone()),
            facts: vec![
                ("event", Some("push".to_owned())),
                ("repo", Some(push.repository.full_name.clone())),
                ("branch", Some(name.to_owned())),
                ("before", Some(before.to_owned())),
                ("head_sha", Some(after.to_owned())),
            ],
        },
    })
}
