//! What breaks: streams, nodes, the scheduler itself; and that no fault makes two agents or loses an outcome.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::transition::Conclusion;
use domain::{Budgets, Event};
use proto::v1::{LoseRunnerRequest, RunKey, RunPhase, StartStatus};
use tonic::Code;

use crate::fake::{Node, bytes, held, id_of};
use crate::stack::{Stack, eventually};

/// Longer than the scheduler's lease.
const OVER_A_LEASE: Duration = Duration::from_secs(421);

#[tokio::test]
async fn a_cut_or_silent_watch_is_resumed_where_the_log_ends() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    let watched = |offset| {
        let (node, id) = (node.clone(), id_of(&run));
        async move {
            eventually("a watch", async || node.state().watches.contains(&(id, offset)).then_some(())).await;
        }
    };
    let logged = async |length: u64| {
        eventually("the log", async || {
            let len = std::fs::metadata(stack.log_path(&run)).map_or(0, |log| log.len());
            (len == length).then_some(())
        })
        .await;
    };
    watched(0).await;
    node.prints(&run, bytes(0, "one."));
    logged(4).await;
    node.state().cuts += 1;
    watched(4).await;
    node.prints(&run, bytes(4, "two."));
    logged(8).await;
    node.state().mute = true;
    watched(8).await;
    node.state().mute = false;
    node.ends(&run, domain::Outcome { log_bytes: 8, ..stack.success() });
    stack.reaches(job, "done").await;
    assert_eq!(std::fs::read_to_string(stack.log_path(&run)).unwrap(), "one.two.");
}

#[tokio::test]
async fn bytes_a_node_leaves_out_twice_become_a_declared_gap() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    node.prints(&run, bytes(0, "head"));
    node.ends(&run, domain::Outcome { log_bytes: 10, ..stack.success() });
    stack.reaches(job, "done").await;
    let gaps = stack.log_path(&run).with_extension("gaps");
    assert_eq!(std::fs::read_to_string(gaps).unwrap(), "4 10\n");
}

#[tokio::test]
async fn a_lost_ack_is_sent_again_when_the_node_still_lists_the_run() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    node.ends(&run, stack.success());
    node.acked(&run).await;
    stack.reaches(job, "done").await;
    node.state().acks.clear();
    let still_there = [held(&run, RunPhase::Ended)];
    assert_eq!(node.renew(&stack, 1, &still_there).await.unwrap().fenced, []);
    node.acked(&run).await;
    assert_eq!((stack.ends(job).await, node.state().watches.len()), (vec!["success none".to_owned()], 1));
}

#[tokio::test]
async fn a_restart_goes_on_with_what_lives_and_requeues_nothing() {
    let mut stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let (started_job, offered_job) = (stack.enqueue().await, stack.enqueue().await);
    let started = node.started(&stack, 1).await;
    let offered = node.launched(2).await;
    node.prints(&started, bytes(0, "before."));
    eventually("the log", async || {
        std::fs::metadata(stack.log_path(&started)).ok().filter(|log| log.len() == 7).map(|_| ())
    })
    .await;

    stack.restart().await;
    // The node is reached where it was, before it says a word.
    let resumed = (id_of(&started), 7);
    eventually("a resumed watch", async || node.state().watches.contains(&resumed).then_some(())).await;
    assert_eq!(node.launched(3).await.run, offered.run);
    assert_eq!(node.renew(&stack, 1, &[]).await.unwrap_err().code(), Code::FailedPrecondition);
    let offered = offered.run.unwrap();
    let all = [held(&started, RunPhase::Started), held(&offered, RunPhase::Offered)];
    assert_eq!(node.register(&stack, &all).await.unwrap().fenced, []);
    assert_eq!(node.ask_start(&stack, &offered).await.unwrap().status(), StartStatus::Ok);

    node.prints(&started, bytes(7, "after."));
    node.ends(&started, domain::Outcome { log_bytes: 13, ..stack.success() });
    node.ends(&offered, stack.success());
    for job in [started_job, offered_job] {
        stack.reaches(job, "done").await;
        assert_eq!(stack.ends(job).await, ["success none"]);
    }
    assert_eq!(std::fs::read_to_string(stack.log_path(&started)).unwrap(), "before.after.");
    stack.check_invariants().await;
}

#[tokio::test]
async fn a_node_gone_past_the_lease_loses_its_runs_and_its_report_comes_too_late() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    stack.clock.advance(Duration::from_secs(419));
    stack.waits_for_node("n", "unreachable").await;
    assert_eq!(stack.ends(job).await, ["started None None"]);
    stack.clock.advance(Duration::from_secs(2));
    let queued = stack.reaches(job, "queued").await;
    assert_eq!(queued.budgets, Budgets { infra_attempts: 1, ..Budgets::default() });
    stack.waits_for_node("n", "lost").await;
    eventually("the reaper's count", async || {
        let reaper = stack.store.overview(queued.updated_at).await.unwrap().reaper;
        (reaper.reaped_total == 1 && reaper.last_tick_at >= Some(queued.updated_at)).then_some(())
    })
    .await;

    // It comes back: the live run is fenced, and takes the new one.
    let reply = node.renew(&stack, 1, &[held(&run, RunPhase::Started)]).await.unwrap();
    assert_eq!(reply.fenced, std::slice::from_ref(&run));
    let second = node.started(&stack, 2).await;
    assert_eq!(second.epoch, run.epoch + 1);
    // Its report is kept and let go, and moves nothing.
    node.ends(&run, stack.success());
    let both = [held(&run, RunPhase::Ended), held(&second, RunPhase::Started)];
    assert_eq!(node.renew(&stack, 2, &both).await.unwrap().fenced, []);
    node.acked(&run).await;
    assert_eq!(stack.ends(job).await, ["lost lease_expired", "started None None"]);
    let late = stack.detail(job).await.late_outcomes;
    let shown: Vec<_> = late.iter().map(|late| (late.run_id.as_str(), late.class.as_str())).collect();
    assert_eq!(shown, [(run.run_id.as_str(), "success")]);
    assert_eq!((late[0].exit_code, late[0].cost_usd), (Some(0), Some(0.25)));
    node.ends(&second, stack.success());
    stack.reaches(job, "done").await;
    stack.check_invariants().await;
}

#[tokio::test]
async fn whoever_has_not_a_runs_token_neither_starts_nor_holds_nor_ends_it() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.launched(1).await.run.unwrap();
    assert_eq!(run.token.len(), 32);
    // The right name, session and run: in plaintext anybody may have these.
    for token in [String::new(), run.token.replace(|_| true, "0"), format!("{}0", &run.token[..31])] {
        let stranger = RunKey { token, ..run.clone() };
        if stranger == run {
            continue;
        }
        assert_eq!(node.ask_start(&stack, &stranger).await.unwrap().status(), StartStatus::Refused);
    }
    assert_eq!(stack.ends(job).await, ["offered None None"]);
    assert_eq!(node.ask_start(&stack, &run).await.unwrap().status(), StartStatus::Ok);
    assert_eq!(node.ask_start(&stack, &run).await.unwrap().status(), StartStatus::Ok, "a repeat renews");
    let stranger = RunKey { token: String::new(), ..run.clone() };
    for (number, phase) in [(1, RunPhase::Started), (2, RunPhase::Ended)] {
        let reply = node.renew(&stack, number, &[held(&stranger, phase)]).await.unwrap();
        assert_eq!(reply.fenced, std::slice::from_ref(&stranger), "and learns no token");
    }
    // It was not heard of by that: its lease is over when nobody else speaks for it.
    stack.clock.advance(Duration::from_secs(421));
    stack.reaches(job, "queued").await;
    assert_eq!(stack.ends(job).await, ["lost lease_expired"]);
    stack.check_invariants().await;
}

#[tokio::test]
async fn an_outcome_without_the_runs_token_is_not_taken() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    node.state().forges = true;
    node.ends(&run, stack.success());
    let tries = || node.state().watches.iter().filter(|(watched, _)| *watched == id_of(&run)).count();
    eventually("another try", async || (tries() > 2).then_some(())).await;
    assert_eq!(stack.ends(job).await, ["started None None"]);
    node.state().forges = false;
    stack.reaches(job, "done").await;
    stack.check_invariants().await;
}

#[tokio::test]
async fn renews_keep_a_run_alive_and_stragglers_do_not() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    let holds = [held(&run, RunPhase::Started)];
    for number in 1..=3 {
        stack.clock.advance(Duration::from_mins(5));
        assert_eq!(node.renew(&stack, number, &holds).await.unwrap().fenced, []);
    }
    assert_eq!(stack.ends(job).await, ["started None None"]);
    stack.clock.advance(Duration::from_mins(5));
    assert_eq!(node.renew(&stack, 2, &holds).await.unwrap_err().code(), Code::Unavailable);
    stack.clock.advance(Duration::from_secs(121));
    stack.reaches(job, "queued").await;
    assert_eq!(stack.ends(job).await, ["lost lease_expired"]);
    let evidence = stack.runs(job).await.remove(0).evidence;
    assert!(evidence.is_some_and(|words| words.starts_with("nothing was heard of its runner")));
}

#[tokio::test]
async fn nothing_expires_for_a_whole_lease_after_a_start() {
    let mut stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    stack.stop().await;
    stack.clock.advance(OVER_A_LEASE);
    stack.restart().await;
    stack.clock.advance(Duration::from_secs(419));
    assert_eq!(node.register(&stack, &[held(&run, RunPhase::Started)]).await.unwrap().fenced, []);
    node.ends(&run, stack.success());
    stack.reaches(job, "done").await;
    assert_eq!(stack.ends(job).await, ["success none"]);
}

#[tokio::test]
async fn a_newer_incarnation_without_the_run_proves_its_death() {
    let stack = Stack::start().await;
    let mut node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    // The same incarnation again, without it: no proof.
    node.register(&stack, &[]).await.unwrap();
    // A newer one that adopted it: it lives.
    node.incarnation = 2;
    node.register(&stack, &[held(&run, RunPhase::Started)]).await.unwrap();
    assert_eq!(stack.ends(job).await, ["started None None"]);
    // The next one found nothing of it.
    node.incarnation = 3;
    node.register(&stack, &[]).await.unwrap();
    assert_eq!(stack.ends(job).await[0], "lost node_lost");
    let evidence = stack.runs(job).await.remove(0).evidence;
    assert!(evidence.is_some_and(|words| words.starts_with("its runner came back without it")));

    let second = node.started(&stack, 2).await;
    // Two hosts of one identity: the run is on the other one.
    node.boot_id = "boot-2".to_owned();
    node.register(&stack, &[]).await.unwrap();
    assert_eq!(stack.ends(job).await[1], "started None None");
    // A boot is a start too.
    node.incarnation = 4;
    node.register(&stack, &[]).await.unwrap();
    assert_eq!(stack.ends(job).await[1], "lost node_lost");
    let job = stack.job(job).await;
    assert_eq!(job.budgets, Budgets { infra_attempts: 2, ..Budgets::default() });
    // The old incarnation, still somewhere, is told so.
    node.incarnation = 2;
    let fenced = node.renew(&stack, 9, &[held(&second, RunPhase::Started)]).await.unwrap_err();
    assert_eq!(fenced.code(), Code::Aborted);
    stack.check_invariants().await;
}

#[tokio::test]
async fn a_node_declared_lost_is_heard_again_only_as_a_newer_incarnation() {
    let mut stack = Stack::start().await;
    let mut node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    let lose = |node: &str| LoseRunnerRequest { node: node.to_owned() };
    let unknown = stack.admin().lose_runner(lose("m")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let reply = stack.admin().lose_runner(lose("n")).await.unwrap().into_inner();
    assert_eq!(reply.run_ids, std::slice::from_ref(&run.run_id));
    assert_eq!(stack.ends(job).await, ["lost node_lost"]);
    assert_eq!(stack.job(job).await.budgets, Budgets { infra_attempts: 1, ..Budgets::default() });
    stack.waits_for_node("n", "lost").await;

    // It is only cut off: nothing it says counts, also after a restart.
    for restarted in [false, true] {
        if restarted {
            stack.restart().await;
        }
        let holds = [held(&run, RunPhase::Started)];
        assert_eq!(node.renew(&stack, 9, &holds).await.unwrap_err().code(), Code::Aborted);
        assert_eq!(node.ask_start(&stack, &run).await.unwrap_err().code(), Code::Aborted);
        assert_eq!(node.register(&stack, &holds).await.unwrap_err().code(), Code::Aborted);
    }
    node.incarnation = 2;
    assert_eq!(node.register(&stack, &[]).await.unwrap().fenced, []);
    let again = node.started(&stack, 2).await;
    assert_eq!(again.epoch, run.epoch + 1);
    node.ends(&again, stack.success());
    stack.reaches(job, "done").await;
    stack.check_invariants().await;
}

/// Another database's, or made after the backup that this one was restored from.
#[tokio::test]
async fn a_run_that_the_database_never_made_is_fenced_and_its_report_neither_applied_nor_taken() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    let stranger = RunKey { run_id: "018f6d5e-0000-7000-8000-00000000000a".to_owned(), ..run.clone() };
    let both = [held(&run, RunPhase::Started), held(&stranger, RunPhase::Started)];
    assert_eq!(node.renew(&stack, 1, &both).await.unwrap().fenced, std::slice::from_ref(&stranger));
    node.ends(&stranger, stack.success());
    let both = [held(&run, RunPhase::Started), held(&stranger, RunPhase::Ended)];
    let number = AtomicU64::new(2);
    eventually("it is fenced", async || {
        let renewed = node.renew(&stack, number.fetch_add(1, Ordering::Relaxed), &both).await.unwrap();
        (renewed.fenced == std::slice::from_ref(&stranger)).then_some(())
    })
    .await;
    assert_eq!(node.state().acks, []);
    node.ends(&run, stack.success());
    stack.reaches(job, "done").await;
    assert_eq!(stack.ends(job).await, ["success none"]);
    stack.check_invariants().await;
}

#[tokio::test]
async fn after_a_restore_nothing_is_claimed_for_one_lease() {
    let mut stack = Stack::start().await;
    let mut node = Node::start(&stack, "n").await;
    assert_eq!(node.register(&stack, &[]).await.unwrap().database_generation, 1);
    let before = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    node.ends(&run, stack.success());
    stack.reaches(before, "done").await;
    stack.stop().await;
    stack.force("UPDATE meta SET database_generation = 2").await;
    stack.restart().await;
    let job = stack.enqueue().await;
    // As long as the lease, and a restart begins the wait again.
    stack.clock.advance(Duration::from_secs(419));
    stack.restart().await;
    stack.clock.advance(Duration::from_secs(419));
    node.incarnation = 2;
    assert_eq!(node.register(&stack, &[]).await.unwrap().database_generation, 2);
    stack.waits(job, "the database was restored or moved").await;
    assert_eq!(stack.runs(job).await, []);
    stack.clock.advance(Duration::from_secs(1));
    node.renew(&stack, 1, &[]).await.unwrap();
    let run = node.started(&stack, 2).await;
    node.ends(&run, stack.success());
    stack.reaches(job, "done").await;
    assert_eq!(stack.store.generation().await.unwrap().noted, Some(2));
    stack.check_invariants().await;
}

#[tokio::test]
async fn of_two_sessions_the_later_one_speaks_for_the_node() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let mut clone = node.clone();
    clone.session = "session-2".to_owned();
    clone.register(&stack, &[]).await.unwrap();
    assert_eq!(node.renew(&stack, 1, &[]).await.unwrap_err().code(), Code::Aborted);
    clone.renew(&stack, 1, &[]).await.unwrap();
}

#[tokio::test]
async fn what_was_committed_without_a_word_to_memory_is_found() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.launched(1).await.run.unwrap();
    stack.commit(job, &Event::Confirmed { run: id_of(&run) }).await;
    let watched = (id_of(&run), 0);
    eventually("a watch", async || node.state().watches.contains(&watched).then_some(())).await;
    stack.commit(job, &Event::CancelRequested).await;
    let holds = [held(&run, RunPhase::Started)];
    let number = AtomicU64::new(0);
    eventually("the cancel", async || {
        let number = 1 + number.fetch_add(1, Ordering::Relaxed);
        let reply = node.renew(&stack, number, &holds).await.unwrap();
        (!reply.cancel.is_empty()).then_some(())
    })
    .await;
    let lost = Event::Ended { run: id_of(&run), conclusion: Conclusion::Drained };
    stack.commit(job, &lost).await;
    eventually("the fence", async || {
        let number = 1 + number.fetch_add(1, Ordering::Relaxed);
        let reply = node.renew(&stack, number, &holds).await.unwrap();
        (!reply.fenced.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_second_scheduler_on_the_database_is_refused() {
    let stack = Stack::start().await;
    let refused = stack.start_second().await.unwrap_err().to_string();
    assert!(refused.starts_with("another scheduler runs on "), "{refused}");
    stack.stop().await;
}
