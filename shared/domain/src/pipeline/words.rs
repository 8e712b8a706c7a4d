//! The words of `orch.toml` that stand for one of a few things.

/// Declares an enum with one word of `orch.toml` for each variant.
macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$inner])* $variant,)+
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word used in `orch.toml` and in answers.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Finds the variant of this word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}

words! {
    /// The kinds of event that can start a stage.
    LaunchPoint {
        /// An issue was created.
        PlaneIssueCreated = "plane.issue_created",
        /// An issue's state changed.
        PlaneStateChanged = "plane.state_changed",
        /// An issue was commented on.
        PlaneComment = "plane.comment",
        /// An issue's labels or assignees changed.
        PlaneLabelsChanged = "plane.labels_changed",
        /// A branch was pushed to.
        GiteaPush = "gitea.push",
        /// A pull request was opened, reopened, synchronized or merged.
        GiteaPullRequest = "gitea.pull_request",
        /// A pull request was approved or rejected.
        GiteaReview = "gitea.review",
        /// A final result of a status, a workflow run or an action run.
        GiteaCi = "gitea.ci",
    }
}

words! {
    /// What happened to a pull request.
    PullRequestAction {
        /// It is new.
        Opened = "opened",
        /// It was closed and is open again.
        Reopened = "reopened",
        /// Its head moved.
        Synchronized = "synchronized",
        /// It was merged.
        Merged = "merged",
    }
}

words! {
    /// What a review said.
    ReviewVerdict {
        /// Approved.
        Approved = "approved",
        /// Changes are asked for.
        Rejected = "rejected",
    }
}

words! {
    /// The final result of a test run.
    CiResult {
        /// It passed.
        Success = "success",
        /// It failed, or could not be carried out.
        Failure = "failure",
        /// It passed with warnings.
        Warning = "warning",
        /// Somebody, or a newer run, ended it.
        Cancelled = "cancelled",
        /// It was not needed.
        Skipped = "skipped",
    }
}

words! {
    /// How far an event's author is trusted, least first.
    Trust {
        /// Somebody of whom nothing is known, such as the author of a pull request from a fork.
        Outsider = "outsider",
        /// Somebody who may write to the repository or the tracker project.
        Member = "member",
        /// The repository's owner.
        Maintainer = "maintainer",
    }
}

words! {
    /// Something that must hold before a stage counts as passed.
    Gate {
        /// The agent's typed verdict, bound to the head commit.
        Verdict = "verdict",
        /// A program that ends well in the workspace.
        Command = "command",
        /// The tests of the commit, all of which must pass.
        Ci = "ci",
        /// A person's word.
        Approval = "approval",
    }
}

words! {
    /// What becomes of a running job that judges a commit, when a newer one arrives.
    Outdated {
        /// Its end is asked for: nobody would use its verdict.
        Cancel = "cancel",
        /// It goes on; its verdict moves nothing.
        Finish = "finish",
    }
}

impl LaunchPoint {
    /// Whether Plane sends it; Gitea or Forgejo otherwise.
    pub fn is_plane(self) -> bool {
        match self {
            Self::PlaneIssueCreated
            | Self::PlaneStateChanged
            | Self::PlaneComment
            | Self::PlaneLabelsChanged => true,
            Self::GiteaPush | Self::GiteaPullRequest | Self::GiteaReview | Self::GiteaCi => false,
        }
    }
}
