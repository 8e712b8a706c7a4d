//! Plays the part that a script gives to an agent of a built-in stage, see [`e2e::night::script`]. Which part it is, it
//! finds where a real agent would: in its prompt and its working directory.

use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use e2e::night::script::{Fault, PLAY_SETTING, Says, Script, Seen, Stage, Turn, made_up_sha};
use serde_json::json;

use crate::cli::Invocation;
use crate::directive::Failure;
use crate::marks;
use crate::stream::Stream;
use crate::{act, ending};

/// A commit that is none of the item's.
const OTHER_HEAD: &str = "ffffffffffffffffffffffffffffffffffffffff";

/// Where there is something to play: the folder that `ORCH_AGENT_ENV` let through.
pub(crate) fn stage() -> Option<Stage> {
    std::env::var_os(PLAY_SETTING).map(Stage::open)
}

/// Plays the part and returns the exit code.
pub(crate) fn run(invocation: &Invocation, prompt: &str, stage: &Stage) -> ExitCode {
    match perform(invocation, prompt, stage) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            act::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Who the prompt speaks to, and about what.
struct Part<'a> {
    role: &'a str,
    item: &'a str,
    /// The commit to judge.
    head: Option<&'a str>,
}

impl<'a> Part<'a> {
    fn read(prompt: &'a str) -> Self {
        let role = prompt
            .strip_prefix("You are the ")
            .and_then(|rest| rest.split_once(" of an unattended pipeline"))
            .map_or("reformat", |(role, _)| role);
        let item = prompt.lines().find_map(|line| line.strip_prefix("work item: ")).unwrap_or("-");
        let head = prompt.split_once("It is the commit ").and_then(|(_, rest)| rest.get(..40));
        Self { role, item, head }
    }
}

fn perform(invocation: &Invocation, prompt: &str, stage: &Stage) -> io::Result<u8> {
    let part = Part::read(prompt);
    let (run, job) = (marks::told("ORCH_RUN_ID"), marks::told("ORCH_JOB_ID"));
    stage.saw(&run, &seen(&part, &job, prompt)?)?;
    let lock = marks::lock_job(&stage.locks())?;
    let mut stream = Stream::new(invocation);
    stream.init()?;
    if lock.is_none() {
        return Err(io::Error::other("another agent of this job lives"));
    }
    if part.role == "reformat" {
        let says = stage.asked_again(&invocation.session_id).or_else(|| told_in(prompt)).unwrap_or_default();
        return stream.success(&message(says, None, prompt)).map(|()| 0);
    }
    let script = stage.script(part.item)?;
    let round = match part.role {
        "developer" => stage.round_of(part.item, part.role, &job)?,
        role => {
            stage.round_of(part.item, role, &job)?;
            part.head.and_then(|head| stage.round_of_commit(part.item, head)).unwrap_or(usize::MAX)
        }
    };
    let turn = turn_of(&script, part.role, round);
    stage.when_asked_again(&invocation.session_id, turn.again)?;
    std::thread::sleep(Duration::from_millis(turn.work_ms));
    if let Some(fault) = turn.fault
        && stage.befalls_first(&job)?
    {
        return match fault {
            Fault::Crash => Ok(1),
            Fault::NoResult => Ok(0),
            Fault::Overloaded => stream.failure(&ending::failure(Failure::Overloaded)).map(|()| 1),
        };
    }
    let made = if part.role == "developer" {
        let sha = commit(part.item, round)?;
        stage.committed(part.item, round, &sha)?;
        Some(sha)
    } else {
        None
    };
    let head = made.as_deref().or(part.head);
    stream.text("I have done my part.")?;
    let again = serde_json::to_string(&turn.again)?;
    stream.success(&format!("asked again I say {again}\n\n{}", message(turn.says, head, prompt)))?;
    Ok(0)
}

/// The turn of a role; who judges a commit that the script does not know, or is asked once too often, says no.
fn turn_of(script: &Script, role: &str, round: usize) -> Turn {
    let of_round = script.rounds.get(round);
    let turn = match role {
        "analyst" => Some(&script.analyst),
        "architect" => Some(&script.architect),
        "developer" => of_round.map(|round| &round.developer),
        "reviewer" => of_round.map(|round| &round.reviewer),
        "tester" => of_round.map(|round| &round.tester),
        "deployer" => Some(&script.deployer),
        _ => None,
    };
    turn.cloned().unwrap_or_else(|| Turn::says(Says::Fail))
}

/// The word in a message that says what follows it when it is asked again.
fn told_in(prompt: &str) -> Option<Says> {
    let word = prompt.split_once("asked again I say \"")?.1.split('"').next()?;
    serde_json::from_value(word.into()).ok()
}

fn message(says: Says, head: Option<&str>, prompt: &str) -> String {
    let block = |verdict: &str, findings: &[&str], head: Option<&str>| {
        let block =
            json!({"verdict": verdict, "summary": "what was done", "findings": findings, "head": head});
        format!("```json\n{block}\n```")
    };
    match says {
        Says::Pass => format!("All of it is done.\n\n{}", block("pass", &[], head)),
        Says::Fail => {
            format!("Not yet.\n\n{}", block("fail", &["src/a.rs:3 is wrong", "a test is missing"], head))
        }
        Says::Prose => "Everything looks good to me. Verdict: PASS!".to_owned(),
        Says::Two => format!("{}\n\nNo, wait:\n\n{}", block("fail", &["x"], head), block("pass", &[], head)),
        Says::Shape => "```json\n{\"verdict\":\"pass\",\"summary\":\"s\",\"confidence\":0.4}\n```".to_owned(),
        Says::OtherHead => block("pass", &[], Some(OTHER_HEAD)),
        Says::Echo => format!("{}\n\n{}", material(prompt), block("pass", &[], head)),
    }
}

/// What stands in the first fence of a prompt, its marks included.
fn material(prompt: &str) -> &str {
    let from = prompt.find("----- begin ").unwrap_or_default();
    let to = prompt.rfind("----- end ").unwrap_or(prompt.len());
    &prompt[from..to]
}

fn seen(part: &Part<'_>, job: &str, prompt: &str) -> io::Result<Seen> {
    let env = std::env::vars_os()
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()));
    Ok(Seen {
        job: job.parse().unwrap_or(-1),
        item: part.item.to_owned(),
        role: part.role.to_owned(),
        argv: std::env::args().collect(),
        env: env.collect(),
        cwd: std::env::current_dir()?,
        prompt: prompt.to_owned(),
        head: part.head.map(str::to_owned),
    })
}

/// Commits a change of this round, once, and returns its object id; where there is no repository it is made up.
fn commit(item: &str, round: usize) -> io::Result<String> {
    if !Path::new(".git").exists() {
        return Ok(made_up_sha(item, round));
    }
    let words = format!("{item}: round {round}\n");
    if std::fs::read_to_string("work.txt").unwrap_or_default() != words {
        std::fs::write("work.txt", &words)?;
        git(&["add", "work.txt"])?;
        git(&[
            "-c",
            "user.name=agent",
            "-c",
            "user.email=agent@example",
            "commit",
            "-q",
            "-m",
            words.trim(),
        ])?;
    }
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> io::Result<String> {
    // The same work is the same commit, however often it is tried.
    let dates = ["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"].map(|name| (name, "2026-11-22T00:00:00Z"));
    let output = Command::new("git").args(arguments).envs(dates).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
