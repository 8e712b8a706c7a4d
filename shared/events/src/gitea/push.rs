//! A push: only to a branch, only one that leaves something there, and not the forge's test delivery.

use domain::launch::{Facts, LaunchEvent, Subject};
use domain::pipeline::{LaunchPoint, Trust};
use domain::sighting::{Aspect, Sighting, Word};

use super::body::Push;
use super::{actor, branch, place, repo_key, sha, trust};
use crate::Refusal;
use crate::identifier::is_zero_sha;
use crate::observed::{Account, Observed, digest};

/// Most commit messages told.
const MESSAGES_MAX: usize = 20;

/// That a branch of `repo` is at a commit; at one of zeros: it is gone.
pub fn branch_at(repo: &str, name: &str, sha: &str) -> Sighting {
    Sighting::of(&branch_subject(repo, name), Aspect::Branch(name.to_owned()), sha)
}

/// The subject of a branch's sighting.
pub fn branch_subject(repo: &str, name: &str) -> String {
    // Its name may have letters that no two databases make lower case alike.
    format!("{repo}@refs/heads/{}", digest(name)).to_ascii_lowercase()
}

pub(super) fn observe(push: &Push) -> Result<Observed, Refusal> {
    let place = place(&push.repository)?;
    let (before, after) = (sha(&push.before)?, sha(&push.after)?);
    let Some(name) = push.reference.strip_prefix("refs/heads/") else {
        branch(&push.reference)?;
        return Ok(Observed::nothing(place));
    };
    let name = branch(name)?;
    let author = push.sender.as_ref().or(push.pusher.as_ref());
    let told = branch_at(&repo_key(&push.repository), name, after);
    let told = Sighting { words: vec![Word { id: before.to_owned(), name: None }], ..told };
    let is_test = before == after;
    if is_test {
        return Ok(Observed::nothing(place));
    }
    if is_zero_sha(after) {
        return Ok(Observed::nothing(place).showing(actor(author), vec![told]));
    }

    let event = LaunchEvent {
        point: LaunchPoint::GiteaPush,
        subject: Subject::Branch(name.to_owned()),
        actor: actor(author),
        trust: trust(author, &push.repository, Trust::Member),
        facts: Facts { branch: Some(name.to_owned()), ..Facts::default() },
        head: Some(after.to_owned()),
        semantic_key: format!("gitea.push:{}:{name}:{before}:{after}", repo_key(&push.repository)),
        sighting: Some(told.name.clone()),
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
        sightings: vec![told],
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
