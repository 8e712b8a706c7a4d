//! The way of a run: launch, start, spawn, log, outcome, acknowledgement, with real processes.

mod common;

use common::*;
use domain::classify::Patterns;
use domain::outcome::{EndedBy, Exit};
use domain::transition::{Conclusion, NotTried};
use proto::v1::{LaunchStatus, RunPhase};

#[tokio::test]
async fn a_run_from_launch_to_ack() {
    let place = Place::new(
        "cat >$HERE/prompt; echo '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"session_id\":\"s1\",\"result\":\"ok\"}'; echo done >&2",
    );
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    // Far more than a pipe holds.
    let prompt = "prompt ".repeat(100_000);

    assert_eq!(
        launch(&mut runner.client, runner.incarnation, &run, spec(&prompt)).await,
        LaunchStatus::Accepted
    );
    let watched = watch(&mut runner.client, &run, 0).await;

    assert_eq!((&watched.outcome.ended_by, watched.outcome.exit), (&EndedBy::Agent, Some(Exit::Code(0))));
    assert_eq!(watched.outcome.report.usage.session_id.as_deref(), Some("s1"));
    assert_eq!(watched.outcome.tail.as_bytes(), watched.bytes);
    assert!(watched.outcome.tail.contains("done\n") && watched.outcome.spawned_at.is_some());
    assert_eq!(read(&place.file("prompt")), prompt);
    assert_eq!(place.spawns(), 1);

    assert_eq!(launch(&mut runner.client, runner.incarnation, &run, spec("")).await, LaunchStatus::Known);
    ack(&mut runner.client, &run, &place).await;
    // What was acknowledged is over: neither it nor anything older starts again.
    assert_eq!(launch(&mut runner.client, runner.incarnation, &run, spec("")).await, LaunchStatus::Fenced);
    assert_eq!(launch(&mut runner.client, runner.incarnation, &key(1), spec("")).await, LaunchStatus::Fenced);
    assert_eq!(
        launch(&mut runner.client, runner.incarnation + 1, &key(2), spec("")).await,
        LaunchStatus::Fenced
    );
    runner.stop().await;
}

#[tokio::test]
async fn a_refused_start_spawns_nothing_and_a_full_node_says_so() {
    let place = Place::new("sleep 600");
    let scheduler = FakeScheduler::start(Script { start_unavailable: true, ..Script::default() }).await;
    let options = runner::Options { slots: 1, ..place.options(&scheduler) };
    let mut runner = InProcess::start(options, &scheduler).await;
    let run = key(1);
    assert_eq!(launch(&mut runner.client, runner.incarnation, &run, spec("")).await, LaunchStatus::Accepted);
    let other = proto::v1::RunSpec { job_id: 2, ..spec("") };
    assert_eq!(
        launch(&mut runner.client, runner.incarnation, &key(1), other).await,
        LaunchStatus::NoCapacity
    );
    // Start is repeated until it is answered.
    eventually("a second start", async || (scheduler.script().starts.len() > 1).then_some(())).await;
    let listed = scheduler.script().renews.last().map(|renew| renew.held.clone());
    assert!(listed.is_none_or(|held| held.iter().all(|held| held.phase() == RunPhase::Offered)));
    {
        let mut script = scheduler.script();
        (script.start_unavailable, script.refuse_start) = (false, true);
    }
    eventually("the run to be forgotten", async || {
        std::fs::read_dir(place.file("state/node-0/runs")).unwrap().next().is_none().then_some(())
    })
    .await;
    assert_eq!(place.spawns(), 0);
    runner.stop().await;
}

/// Whether this process holds the descriptor without close-on-exec, and not as a standard stream.
fn inherited_by_everything(fd: &str) -> bool {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let described = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let flags =
        described.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    fd.len() > 1 && fd != "255" && flags.is_some_and(|flags| flags & CLOSE_ON_EXEC == 0)
}

#[tokio::test]
async fn the_environment_is_made_from_empty_and_the_arguments_are_the_contract() {
    let place = Place::new(
        "env >$HERE/env; printf '%s\\n' \"$@\" >$HERE/args; pwd >$HERE/cwd; ls /proc/$$/fd >$HERE/fds",
    );
    let scheduler = FakeScheduler::start(Script::default()).await;
    let options = runner::Options {
        // Cargo sets this one for every test.
        agent_env: vec!["CARGO_PKG_NAME".to_owned(), "ORCH_NOT_SET".to_owned()],
        ..place.options(&scheduler)
    };
    let mut runner = InProcess::start(options, &scheduler).await;
    let run = key(1);
    let spec = proto::v1::RunSpec { model: Some("sonnet".to_owned()), max_turns: Some(7), ..spec("hi") };
    launch(&mut runner.client, runner.incarnation, &run, spec).await;
    watch(&mut runner.client, &run, 0).await;

    let env = read(&place.file("env"));
    let mut names: Vec<&str> = env.lines().filter_map(|line| line.split('=').next()).collect();
    names.retain(|name| !["PWD", "SHLVL", "_", "IS_SANDBOX"].contains(name));
    names.sort_unstable();
    let expected = [
        "CARGO_PKG_NAME",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        "CLAUDE_CODE_MAX_RETRIES",
        "DISABLE_AUTOUPDATER",
        "DISABLE_ERROR_REPORTING",
        "DISABLE_TELEMETRY",
        "HOME",
        "LANG",
        "ORCH_JOB_ID",
        "ORCH_RUN_ID",
        "ORCH_RUN_MARKER",
        "PATH",
        "TZ",
    ];
    assert_eq!(names, expected);
    let home = place.file("state/homes/default").canonicalize().unwrap();
    for line in ["TZ=UTC", "ORCH_JOB_ID=1", &format!("ORCH_RUN_ID={}", run.run_id), "CARGO_PKG_NAME=runner"] {
        assert!(env.lines().any(|it| it == line), "{line} in {env}");
    }
    let home = format!("HOME={}/shop/SHOP-12", home.display());
    assert!(env.lines().any(|it| it == home), "{home} in {env}");
    let arguments = "-p --output-format stream-json --verbose --model sonnet --max-turns 7 \
                     --permission-mode bypassPermissions --disallowedTools AskUserQuestion,CronCreate,EnterPlanMode,ExitPlanMode,ScheduleWakeup";
    assert_eq!(read(&place.file("args")).split_whitespace().collect::<Vec<_>>().join(" "), arguments);
    // The script itself is bash's 255; the rest is what this test was started with and passes on to every program.
    let mut opened: Vec<String> = read(&place.file("fds")).lines().map(str::to_owned).collect();
    opened.retain(|fd| !inherited_by_everything(fd));
    assert_eq!(opened, ["0", "1", "2", "255"]);
    assert!(read(&place.file("cwd")).trim().ends_with("/workspaces/shop/SHOP-12"));
    runner.stop().await;
}

#[tokio::test]
async fn an_outsiders_agent_is_given_no_tool_that_reaches_the_network() {
    let place = Place::new("printf '%s\\n' \"$@\" >$HERE/args");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    let spec = proto::v1::RunSpec { untrusted: true, ..spec("hi") };
    launch(&mut runner.client, runner.incarnation, &run, spec).await;
    watch(&mut runner.client, &run, 0).await;
    let arguments = read(&place.file("args"));
    let tools = arguments.lines().skip_while(|line| *line != "--disallowedTools").nth(1).unwrap();
    for tool in ["Bash", "WebFetch", "WebSearch", "AskUserQuestion"] {
        assert!(tools.split(',').any(|it| it == tool), "{tools}");
    }
    runner.stop().await;
}

#[tokio::test]
async fn a_watch_resumes_anywhere_and_beyond_the_quota_the_middle_is_a_declared_gap() {
    // 1,000,000 bytes in lines of 10.
    let place = Place::new("seq -f '%09.0f' 0 99999");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut options = place.options(&scheduler);
    options.limits.spool_head_bytes = 50_000;
    options.limits.spool_tail_bytes = 160_000;
    let mut runner = InProcess::start(options, &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    let text = (0..100_000).map(|number| format!("{number:09}\n")).collect::<Vec<_>>().concat();
    let text = text.as_bytes();
    // Whoever reads along while the agent prints may lose the middle in several pieces, each declared, and nothing else.
    let along = watch(&mut runner.client, &run, 0).await;
    let ends = along.gaps.iter().copied().chain([(along.outcome.log_bytes, 0)]);
    let (mut expected, mut at) = (Vec::<u8>::new(), 0);
    for (from, to) in ends.map(|(from, to)| (usize::try_from(from).unwrap(), usize::try_from(to).unwrap())) {
        expected.extend_from_slice(&text[at..from]);
        at = to;
    }
    assert!(along.bytes == expected, "beside its gaps {:?} it is exact", along.gaps);
    let all = watch(&mut runner.client, &run, 0).await;

    assert_eq!(all.outcome.log_bytes, text.len() as u64);
    let [(from, to)] = all.gaps[..] else { panic!("one gap, not {:?}", all.gaps) };
    assert!(from == 50_000 && text.len() as u64 - to >= 160_000, "{from}..{to}");
    let to_index = usize::try_from(to).unwrap();
    assert!(all.bytes == [&text[..50_000], &text[to_index..]].concat(), "head and tail are exact");

    for offset in [1, 49_999, 50_000, 77_777, to, to + 1, text.len() as u64] {
        let resumed = watch(&mut runner.client, &run, offset).await;
        let kept = &text[usize::try_from(offset).unwrap()..];
        let expected = if offset < from {
            [&text[usize::try_from(offset).unwrap()..50_000], &text[to_index..]].concat()
        } else if offset < to {
            text[to_index..].to_vec()
        } else {
            kept.to_vec()
        };
        assert!(resumed.bytes == expected, "from {offset}");
    }
    ack(&mut runner.client, &run, &place).await;
    runner.stop().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_said_so() {
    let place = Place::new("");
    // Its interpreter goes after the preflight: the file itself stays the one that was looked at.
    let shell = place.file("shell");
    std::os::unix::fs::symlink("/bin/bash", &shell).unwrap();
    let script = read(&place.agent).replacen("/bin/bash", &shell.display().to_string(), 1);
    std::fs::write(&place.agent, script).unwrap();
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    std::fs::remove_file(&shell).unwrap();
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    let EndedBy::SpawnFailed { error } = outcome.ended_by else { panic!("{outcome:?}") };
    assert!(error.contains("could not execute") && error.contains("No such file"), "{error}");
    assert_eq!(outcome.exit, None);
    runner.stop().await;
}

#[tokio::test]
async fn a_program_that_changes_between_offer_and_spawn_is_not_spawned_and_costs_no_try() {
    let place = Place::new("");
    // Nobody answers Start yet, so the offer is taken and waits.
    let scheduler = FakeScheduler::start(Script { start_unavailable: true, ..Script::default() }).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    let taken = launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    assert_eq!(taken, LaunchStatus::Accepted);
    eventually("the question", async || (!scheduler.script().starts.is_empty()).then_some(())).await;
    std::fs::write(&place.agent, "#!/bin/sh\nexit 1\n").unwrap();
    let refused = launch(&mut runner.client, runner.incarnation, &key(2), spec("")).await;
    assert_eq!(refused, LaunchStatus::NoCapacity);
    scheduler.script().start_unavailable = false;
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    let (conclusion, evidence) =
        domain::classify::conclude(&outcome, false, &Patterns::default(), outcome.ended_at);
    assert_eq!(conclusion, Conclusion::NotTried { why: NotTried::Preflight }, "{evidence}");
    assert_eq!((outcome.spawned_at, place.spawns()), (None, 0));
    let error = eventually("the failed preflight", async || {
        scheduler.script().renews.last()?.preflight.clone()?.error.filter(|error| error.contains("failed"))
    })
    .await;
    assert!(error.contains("set ORCH_CLAUDE_BIN"), "{error}");
    runner.stop().await;
}

#[tokio::test]
async fn without_its_agent_a_node_takes_no_work_and_recovers_by_itself() {
    let place = Place::new("");
    let agent = place.file("agent-later");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut options = place.options(&scheduler);
    options.agent.program = agent.clone();
    options.preflight_ttl = std::time::Duration::from_millis(200);
    let mut runner = InProcess::start(options, &scheduler).await;
    let preflight = scheduler.script().node.clone().unwrap().preflight.unwrap();
    let error = preflight.error.unwrap();
    assert!(!preflight.ok && error.contains("set ORCH_CLAUDE_BIN"), "{error}");
    let refused = launch(&mut runner.client, runner.incarnation, &key(1), spec("")).await;
    assert_eq!(refused, LaunchStatus::NoCapacity);

    std::fs::rename(&place.agent, &agent).unwrap();
    let version = eventually("an ok preflight in a renew", async || {
        let preflight = scheduler.script().renews.last()?.preflight.clone()?;
        preflight.ok.then_some(preflight.version)
    })
    .await;
    assert_eq!(version.as_deref(), Some("2.1.330"));
    runner.stop().await;
}

#[tokio::test]
async fn a_run_that_goes_on_with_a_conversation_is_called_with_it() {
    let place = Place::new(
        "cat >$HERE/prompt; echo \"$@\" >$HERE/arguments; pwd >$HERE/folder; echo $HOME >>$HERE/folder",
    );
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let mut called = async |resume_session: Option<&str>| {
        let run = key(1);
        let job_id = if resume_session.is_some() { 2 } else { 1 };
        let resume_session = resume_session.map(str::to_owned);
        let spec = proto::v1::RunSpec { job_id, resume_session, ..spec("go on") };
        launch(&mut runner.client, runner.incarnation, &run, spec).await;
        watch(&mut runner.client, &run, 0).await;
        (read(&place.file("arguments")), read(&place.file("folder")))
    };
    let (afresh, folder) = called(None).await;
    assert!(!afresh.contains("--resume"), "{afresh}");
    let (resumed, same_folder) = called(Some("9a15f593-7196-4556-85b4-ccbca393236b")).await;
    assert!(resumed.contains(" --resume 9a15f593-7196-4556-85b4-ccbca393236b "), "{resumed}");
    assert_eq!(folder, same_folder, "a conversation is found from its folder and home alone");
    runner.stop().await;
}
