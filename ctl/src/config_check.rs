//! `orch config check`: whether an `orch.toml` would be taken, and what it says.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use domain::pipeline::{self, parse};
use serde::Serialize;
use service::settings::PipelineSettings;

use crate::exit::Failure;
use crate::print::{Output, write};

/// What can be done about the configuration.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check a configuration without starting anything; exits 1 when it would be refused
    Check {
        /// File to check in place of `ORCH_CONFIG`
        file: Option<PathBuf>,
        #[command(flatten)]
        pipeline: PipelineSettings,
    },
    /// Print the JSON schema of orch.toml, for editors: docs/orch.schema.json
    Schema,
}

#[derive(Debug, PartialEq, Serialize)]
struct Report {
    file: String,
    ok: bool,
    problems: Vec<String>,
    projects: Vec<String>,
    stages: Vec<String>,
    triggers: Vec<String>,
    patterns: Vec<String>,
}

/// `orch config check`.
pub(crate) fn run(verb: Verb, output: Output) -> Result<(), Failure> {
    let (file, pipeline) = match verb {
        Verb::Schema => return write(schema_text().as_bytes()),
        Verb::Check { file, pipeline } => (file, pipeline),
    };
    let file = file.unwrap_or(pipeline.config);
    let report = check(&file)?;
    output.show(&report, |_| shown(&report))?;
    if report.ok { Ok(()) } else { Err(Failure::No(format!("{} would be refused", report.file))) }
}

/// The schema as it is published.
fn schema_text() -> String {
    format!("{:#}\n", pipeline::schema())
}

fn check(file: &Path) -> Result<Report, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::Usage(format!("could not read {}: {error}; say which file with ORCH_CONFIG", file.display()))
    })?;
    let named = file.display().to_string();
    Ok(match parse(&text) {
        Ok(pipeline) => {
            // Templates are read when a job needs them; here is the time to find what is wrong with them.
            let problems: Vec<String> =
                scheduler::prompt_problems(file, &pipeline).iter().map(ToString::to_string).collect();
            Report {
                file: named,
                ok: problems.is_empty(),
                problems,
                patterns: pipeline
                    .patterns
                    .iter()
                    .map(|pattern| format!("{} -> {}", pattern.source(), pattern.reason()))
                    .collect(),
                projects: pipeline.projects.into_iter().map(|project| project.name).collect(),
                stages: pipeline.stages.into_iter().map(|stage| stage.name).collect(),
                triggers: pipeline
                    .triggers
                    .into_iter()
                    .map(|trigger| format!("{} -> {}", trigger.on.as_str(), trigger.stage))
                    .collect(),
            }
        }
        Err(error) => Report {
            problems: vec![format!("{named}: {error}")],
            file: named,
            ok: false,
            projects: Vec::new(),
            stages: Vec::new(),
            triggers: Vec::new(),
            patterns: Vec::new(),
        },
    })
}

fn shown(report: &Report) -> String {
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let mut lines = vec![format!("{}: {}", report.file, if report.ok { "ok" } else { "not ok" })];
    lines.extend(report.problems.iter().map(|problem| format!("  {problem}")));
    if !report.stages.is_empty() {
        lines.push(format!("  projects: {}", list(&report.projects)));
        lines.push(format!("  stages:   {}", list(&report.stages)));
        lines.push(format!("  triggers: {}", list(&report.triggers)));
        if !report.patterns.is_empty() {
            lines.push(format!("  patterns: {}", list(&report.patterns)));
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod schema_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_what_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/orch.schema.json");
        let published = std::fs::read_to_string(path).unwrap();
        assert!(
            published == schema_text(),
            "write it anew: cargo run -q -p ctl -- config schema > docs/orch.schema.json"
        );
    }

    #[test]
    fn a_check_names_what_would_be_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("orch.toml");
        let checked = |text: &str| {
            std::fs::write(&file, text).unwrap();
            check(&file).unwrap()
        };
        let good = checked("[[project]]\nname = \"shop\"\n");
        assert_eq!((good.ok, good.projects), (true, vec!["shop".to_owned()]));
        assert!(good.stages.contains(&"review".to_owned()));

        let bad = checked("[[project]]\nnam = \"shop\"\n");
        assert!(!bad.ok && bad.problems[0].contains("line 2, column 1"), "{bad:?}");

        let missing = checked("[[stage]]\nname = \"a\"\nrole = \"r\"\nprompt = \"p.md\"\n");
        let prompt = folder.path().join("p.md");
        let reason = "there is no such file: write the prompt, or mend `prompt` in orch.toml";
        assert_eq!(missing.problems, [format!("stage `a`: {}: {reason}", prompt.display())]);
        std::fs::write(&prompt, "You review.\n{{ requst }}\n").unwrap();
        let misspelt = checked("[[stage]]\nname = \"a\"\nrole = \"r\"\nprompt = \"p.md\"\n");
        let reason = "line 2: a prompt has no `requst`: did you mean `request`?";
        assert_eq!(misspelt.problems, [format!("stage `a`: {}: {reason}", prompt.display())]);
        assert!(check(&folder.path().join("none.toml")).is_err());
    }
}
