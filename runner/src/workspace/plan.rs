//! Whether a worktree goes on as it stands or begins at a commit: a pure function of what is there.

use domain::workspace::HeadRule;

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The commit the job was made for.
    pub(super) head: Option<String>,
    pub(super) rule: HeadRule,
    /// The run goes on with a conversation that was held in this worktree.
    pub(super) resumed: bool,
    /// The run before in this worktree was of the same job.
    pub(super) same_job: bool,
    pub(super) worktree: Option<Standing>,
    /// The branch in the clone.
    pub(super) local: Option<Tip>,
    /// The branch on the forge.
    pub(super) remote: Option<Tip>,
    /// The newest commit of the base.
    pub(super) base: String,
}

/// Where the worktree stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) tip: Tip,
    /// Something in it is in no commit.
    pub(super) dirty: bool,
    /// It is on the item's branch, or on commits that contain it.
    pub(super) has_branch: bool,
}

/// A commit and how it lies to the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) commit: String,
    /// It contains the job's commit.
    pub(super) has_head: bool,
    /// The forge's branch contains it and more.
    pub(super) behind: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Leave every file as it is.
    Stay,
    /// Show this commit and nothing else, once whatever is there is saved.
    Begin(String),
}

pub(super) fn decide(seen: &Seen) -> Plan {
    match &seen.worktree {
        Some(standing) if stays(seen, standing) => Plan::Stay,
        Some(_) | None => Plan::Begin(start(seen)),
    }
}

fn stays(seen: &Seen, standing: &Standing) -> bool {
    let shows_head = seen.head.as_deref() == Some(&standing.tip.commit);
    let fits = match (seen.rule, &seen.head) {
        (HeadRule::Exactly, Some(_)) => shows_head && (!standing.dirty || seen.resumed),
        (HeadRule::BeginsAt, Some(_)) => {
            let goes_on = seen.same_job && standing.tip.has_head;
            goes_on || (shows_head && !standing.dirty)
        }
        (HeadRule::Contains, Some(_)) => standing.tip.has_head,
        (_, None) => true,
    };
    // Work that is in no commit is not left behind for a newer state of the branch: the one who pushes sees to it.
    let outdated = standing.tip.behind && !standing.dirty && !seen.resumed;
    fits && !(outdated && seen.rule == HeadRule::Contains) && (standing.has_branch || seen.resumed)
}

fn start(seen: &Seen) -> String {
    let local = seen.local.as_ref().filter(|tip| !tip.behind);
    let tips = || local.into_iter().chain(&seen.remote);
    let found = match (&seen.head, seen.rule) {
        (Some(head), HeadRule::Exactly | HeadRule::BeginsAt) => Some(head),
        (Some(head), HeadRule::Contains) => {
            tips().find(|tip| tip.has_head).map(|tip| &tip.commit).or(Some(head))
        }
        (None, _) => tips().next().map(|tip| &tip.commit),
    };
    found.unwrap_or(&seen.base).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tip(commit: &str, has_head: bool, behind: bool) -> Tip {
        Tip { commit: commit.to_owned(), has_head, behind }
    }

    fn standing(commit: &str, has_head: bool, dirty: bool) -> Standing {
        Standing { tip: tip(commit, has_head, false), dirty, has_branch: true }
    }

    fn about(head: Option<&str>, rule: HeadRule) -> Seen {
        Seen { head: head.map(str::to_owned), rule, base: "base".to_owned(), ..Seen::default() }
    }

    fn begin(commit: &str) -> Plan {
        Plan::Begin(commit.to_owned())
    }

    #[test]
    fn a_new_item_begins_at_the_base_a_known_one_at_its_branch() {
        let new = about(None, HeadRule::Contains);
        assert_eq!(decide(&new), begin("base"));
        let pushed = Seen { remote: Some(tip("remote", false, false)), ..new.clone() };
        assert_eq!(decide(&pushed), begin("remote"));
        let ahead = Seen { local: Some(tip("local", false, false)), ..pushed.clone() };
        assert_eq!(decide(&ahead), begin("local"));
        let behind = Seen { local: Some(tip("local", false, true)), ..pushed };
        assert_eq!(decide(&behind), begin("remote"));
    }

    #[test]
    fn work_goes_on_where_it_is_unless_it_lacks_the_jobs_commit() {
        let seen = about(Some("h"), HeadRule::Contains);
        assert_eq!(decide(&Seen { worktree: Some(standing("w", true, true)), ..seen.clone() }), Plan::Stay);
        assert_eq!(decide(&Seen { worktree: Some(standing("w", false, true)), ..seen.clone() }), begin("h"));
        let elsewhere = Seen {
            worktree: Some(standing("w", false, false)),
            local: Some(tip("w", false, false)),
            remote: Some(tip("r", true, false)),
            ..seen
        };
        assert_eq!(decide(&elsewhere), begin("r"));
    }

    #[test]
    fn what_another_runner_pushed_is_gone_on_from_but_not_over_unsaved_work() {
        let behind = |dirty| Standing { tip: tip("w", false, true), dirty, has_branch: true };
        let seen = Seen { remote: Some(tip("r", false, false)), ..about(None, HeadRule::Contains) };
        assert_eq!(decide(&Seen { worktree: Some(behind(false)), ..seen.clone() }), begin("r"));
        assert_eq!(decide(&Seen { worktree: Some(behind(true)), ..seen }), Plan::Stay);
    }

    #[test]
    fn who_judges_sees_the_commit_and_nothing_else() {
        let seen = about(Some("h"), HeadRule::Exactly);
        assert_eq!(decide(&Seen { worktree: Some(standing("h", true, false)), ..seen.clone() }), Plan::Stay);
        assert_eq!(decide(&Seen { worktree: Some(standing("h", true, true)), ..seen.clone() }), begin("h"));
        assert_eq!(
            decide(&Seen { worktree: Some(standing("later", true, false)), ..seen.clone() }),
            begin("h")
        );
        // Its own notes are no work of somebody else's.
        let resumed = Seen { worktree: Some(standing("h", true, true)), resumed: true, ..seen };
        assert_eq!(decide(&resumed), Plan::Stay);
        assert_eq!(decide(&Seen { worktree: Some(standing("later", true, false)), ..resumed }), begin("h"));
    }

    #[test]
    fn a_pull_requests_job_begins_at_its_commit_and_its_next_try_goes_on() {
        let seen = about(Some("h"), HeadRule::BeginsAt);
        let later = Seen { worktree: Some(standing("later", true, true)), ..seen };
        assert_eq!(decide(&later), begin("h"));
        assert_eq!(decide(&Seen { same_job: true, ..later.clone() }), Plan::Stay);
        assert_eq!(
            decide(&Seen { same_job: true, worktree: Some(standing("x", false, false)), ..later }),
            begin("h")
        );
    }

    #[test]
    fn an_agent_that_left_the_branch_is_brought_back() {
        let strayed = Standing { tip: tip("w", true, false), dirty: false, has_branch: false };
        let local = Some(tip("l", true, false));
        let seen = Seen { worktree: Some(strayed), local, ..about(None, HeadRule::Contains) };
        assert_eq!(decide(&seen), begin("l"));
        assert_eq!(decide(&Seen { resumed: true, ..seen }), Plan::Stay);
    }
}
