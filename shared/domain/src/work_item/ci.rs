//! The gate `ci`: what the tests of a commit say, all together.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::delivery::StageResult;
use crate::sighting::{Aspect, Sighting};
use crate::{JobId, Timestamp, text};

/// Contexts of this prefix are Orch's own reports and say nothing of a commit.
pub const OWN_CONTEXT_PREFIX: &str = "orch/";
/// How long the gate waits where a stage's `ci_timeout` does not say.
pub const CI_TIMEOUT: std::time::Duration = std::time::Duration::from_hours(2);
/// The longest finding, in bytes.
const FINDING_BYTES_MAX: usize = 500;
/// The most findings.
const FINDINGS_MAX: usize = 50;

/// A stage passed and waits for the tests of its commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiWait {
    /// The job that passed.
    pub job: JobId,
    /// Its stage.
    pub stage: String,
    /// The commit whose tests count.
    pub head: String,
    /// When a person is asked instead.
    pub until: Timestamp,
    /// What the stage's agent said.
    pub result: StageResult,
}

impl fmt::Display for CiWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed and waits for the tests of {} until {}", self.stage, self.head, self.until)
    }
}

/// What the tests of a commit say, all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CiSays {
    /// All that there are passed.
    Passed,
    /// Some failed; one finding for each.
    Failed(Vec<String>),
    /// Some are not over, or there are none yet.
    Nothing {
        /// Those that are not over.
        pending: Vec<String>,
    },
}

/// Reads the sightings of one commit. Where it has statuses, runs of tests are the same tests told in another form and do
/// not count. A test that somebody ended, or that says nothing known, is one that is not over.
pub fn says<'a>(sightings: impl IntoIterator<Item = &'a Sighting>) -> CiSays {
    let (mut statuses, mut runs) = (Vec::new(), Vec::new());
    for sighting in sightings {
        match &sighting.name.aspect {
            Aspect::Status(context) if !context.starts_with(OWN_CONTEXT_PREFIX) => {
                statuses.push((context.as_str(), sighting));
            }
            Aspect::Run(workflow) => runs.push((workflow.as_str(), sighting)),
            Aspect::Status(_)
            | Aspect::Created
            | Aspect::State
            | Aspect::Labels
            | Aspect::Assignees
            | Aspect::Head
            | Aspect::Merged
            | Aspect::Open
            | Aspect::Branch(_)
            | Aspect::Review(_) => {}
        }
    }
    let mut tests = if statuses.is_empty() { runs } else { statuses };
    tests.sort_by_key(|(name, _)| *name);
    let (mut failed, mut pending) = (Vec::new(), Vec::new());
    for (name, test) in &tests {
        match test.value.as_str() {
            "success" | "warning" | "skipped" => {}
            "failure" | "error" => failed.push(finding(name, test)),
            _ => pending.push((*name).to_owned()),
        }
    }
    if !failed.is_empty() {
        failed.truncate(FINDINGS_MAX);
        CiSays::Failed(failed)
    } else if pending.is_empty() && !tests.is_empty() {
        CiSays::Passed
    } else {
        CiSays::Nothing { pending }
    }
}

fn finding(name: &str, test: &Sighting) -> String {
    let said = test.words.iter().find_map(|word| word.name.as_deref()).unwrap_or_default();
    let line = if said.is_empty() {
        format!("ci: {name}: {}", test.value)
    } else {
        format!("ci: {name}: {}: {said}", test.value)
    };
    text::line(&line, FINDING_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(context: &str, value: &str) -> Sighting {
        Sighting::of("acme/shop@x", Aspect::Status(context.to_owned()), value)
    }

    fn run(value: &str) -> Sighting {
        Sighting::of("acme/shop@x", Aspect::Run("ci.yml".to_owned()), value)
    }

    fn pending(names: &[&str]) -> CiSays {
        CiSays::Nothing { pending: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn all_must_pass_and_one_failure_is_enough() {
        assert_eq!(says([]), pending(&[]));
        assert_eq!(says([&status("build", "success"), &status("lint", "warning")]), CiSays::Passed);
        assert_eq!(says([&status("build", "success"), &status("lint", "pending")]), pending(&["lint"]));
        let failed = says([&status("b", "pending"), &status("a", "failure"), &status("c", "error")]);
        assert_eq!(failed, CiSays::Failed(vec!["ci: a: failure".to_owned(), "ci: c: error".to_owned()]));
        assert_eq!(says([&status("a", "cancelled")]), pending(&["a"]), "somebody ended it: that is no word");
        assert_eq!(says([&status("a", "new word")]), pending(&["a"]));
    }

    #[test]
    fn orchs_own_statuses_say_nothing() {
        assert_eq!(says([&status("orch/review", "success")]), pending(&[]));
        assert_eq!(says([&status("orch/review", "failure"), &status("build", "success")]), CiSays::Passed);
    }

    #[test]
    fn runs_count_where_there_are_no_statuses() {
        assert_eq!(says([&run("success")]), CiSays::Passed);
        assert_eq!(says([&run("failure")]), CiSays::Failed(vec!["ci: ci.yml: failure".to_owned()]));
        assert_eq!(
            says([&run("failure"), &status("build", "success")]),
            CiSays::Passed,
            "an older form of it"
        );
    }
}
