//! Being known to the scheduler: registers, renews the lease of everything held, and does what the answers demand.
//!
//! Only an answer to our own send extends a lease, counted from that send on the clock that counts suspend. Of several
//! schedulers it speaks to one until that one does not answer, and registers with the next then.

use std::sync::Arc;
use std::time::Duration;

use proto::convert::read_run_key;
use proto::v1::{RegisterRequest, RenewReply, RenewRequest, RunKey};
use service::grpc;
use service::health::Readiness;
use tonic::Code;

use crate::node::{Held, Node, Terms};
use crate::shim::Wish;

/// The name of the readiness condition.
pub(crate) const SCHEDULER: &str = "scheduler";
/// How long one Register or Renew may take.
const CALL_WITHIN: Duration = Duration::from_secs(5);
/// How many calls in a row may fail before another scheduler is asked. One that is gone or stands still loses its connection
/// without that; this is for one that answers and cannot do its work. Whoever is slow is no reason: all of them share a
/// database, and going from one to the next is work for it.
const FAILURES_MAX: u32 = 3;
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long the first message waits for the first preflight.
const FIRST_LOOK_WAIT: Duration = Duration::from_secs(2);
/// The shortest time between two renews, whatever asks for the next.
const RENEW_PAUSE: Duration = Duration::from_millis(50);

/// Why renewing ended.
enum Ended {
    /// The scheduler does not know us (any more).
    Unknown,
    /// Another session of this node registered after us.
    Superseded,
}

/// Registers and renews until the runner stops or is superseded.
pub(crate) async fn stay_registered(node: Arc<Node>, readiness: Readiness) {
    // The first message should say whether agents can be spawned; but those that live need their lease.
    node.preflights.first(FIRST_LOOK_WAIT).await;
    // Rises for the whole session: begun anew with a Register, it could fall behind a straggler from before it.
    let mut number = 0;
    loop {
        let terms = register(&node, &readiness).await;
        match renew(&node, &readiness, terms, &mut number).await {
            Ended::Unknown => {}
            Ended::Superseded => {
                tracing::error!(
                    node.id = %node.identity.node,
                    "another runner registered with this node's identity: this one takes no more work"
                );
                node.supersede();
                readiness.set(SCHEDULER, Err("another runner has this node's identity".to_owned()));
                return;
            }
        }
    }
}

async fn register(node: &Node, readiness: &Readiness) -> Terms {
    let (mut backoff, mut failures) = (BACKOFF_MIN, 0);
    loop {
        let request = RegisterRequest {
            node: Some(node.description()),
            held: node.listed(),
            session: node.identity.session.clone(),
        };
        let mut scheduler = node.scheduler.clone();
        match grpc::call(CALL_WITHIN, scheduler.register(request)).await {
            Ok(reply) => {
                let reply = reply.into_inner();
                let terms = Terms {
                    lease_ms: reply.runner_lease_ms,
                    renew_ms: reply.renew_ms.max(1),
                    kill_grace_ms: reply.kill_grace_ms,
                };
                tracing::info!(node.id = %node.identity.node, incarnation = node.identity.incarnation.0, lease_ms = terms.lease_ms, "registered");
                node.terms.send_replace(Some(terms));
                each(node, &reply.fenced, Held::fence);
                fence_older_generation(node, reply.database_generation);
                readiness.set(SCHEDULER, Ok(()));
                return terms;
            }
            Err(status) => {
                readiness.set(SCHEDULER, Err(format!("could not register: {}", status.message())));
                leave_after(node, &mut failures);
                // Whoever wants to hear of us is there.
                let called = tokio::time::timeout(backoff, node.renew_soon.notified()).await.is_ok();
                backoff = if called { BACKOFF_MIN } else { (backoff * 2).min(BACKOFF_MAX) };
            }
        }
    }
}

/// Runs of a database that is no longer there own nothing in the one that is.
fn fence_older_generation(node: &Node, generation: i64) {
    match node.identity.generation_changed(generation) {
        Ok(true) => {
            tracing::warn!(generation, "the database was replaced: ending the runs of the older one");
            node.held().iter().for_each(|held| held.fence());
        }
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "could not remember the database's generation"),
    }
}

async fn renew(node: &Node, readiness: &Readiness, terms: Terms, number: &mut u64) -> Ended {
    let every = Duration::from_millis(terms.renew_ms.unsigned_abs());
    let mut failures = 0;
    loop {
        *number += 1;
        let sent_ms = node.clock.boot_ms();
        match send_renew(node, *number).await {
            Ok(reply) => {
                failures = 0;
                each(node, &reply.fenced, Held::fence);
                each(node, &reply.cancel, |held| held.wish(Wish::Cancel));
                let deadline_ms = sent_ms.saturating_add(terms.lease_ms);
                node.lease.send_if_modified(|known| {
                    std::mem::replace(known, deadline_ms.max(*known)) < deadline_ms
                });
                // Said last: whoever waits for it has been told of fences and cancels by then.
                node.renewed.send_replace(sent_ms);
                readiness.set(SCHEDULER, Ok(()));
            }
            Err(status) if status.code() == Code::FailedPrecondition => return Ended::Unknown,
            Err(status) if status.code() == Code::Aborted => return Ended::Superseded,
            Err(status) => {
                readiness.set(SCHEDULER, Err(format!("could not renew: {}", status.message())));
                leave_after(node, &mut failures);
            }
        }
        node.forget_stale().await;
        tokio::time::sleep(RENEW_PAUSE.min(every)).await;
        tokio::select! {
            biased;
            () = node.register_again.notified() => return Ended::Unknown,
            () = node.renew_soon.notified() => {}
            () = tokio::time::sleep(every.saturating_sub(RENEW_PAUSE)) => {}
        }
    }
}

/// Counts a failure, and leaves the scheduler for the next one after too many.
fn leave_after(node: &Node, failures: &mut u32) {
    *failures += 1;
    if *failures >= FAILURES_MAX {
        *failures = 0;
        node.elsewhere.go();
    }
}

async fn send_renew(node: &Node, number: u64) -> Result<RenewReply, tonic::Status> {
    let request = RenewRequest {
        node_id: node.identity.node.to_string(),
        incarnation: node.identity.incarnation.0,
        session: node.identity.session.clone(),
        number,
        held: node.listed(),
        draining: node.draining(),
        preflight: node.preflight_report(),
        containment: node.containment_report(),
    };
    let mut scheduler = node.scheduler.clone();
    grpc::call(CALL_WITHIN, scheduler.renew(request)).await.map(tonic::Response::into_inner)
}

/// Does something with each run of a list that is held here.
fn each(node: &Node, keys: &[RunKey], act: impl Fn(&Held)) {
    for key in keys {
        if let Ok((run, epoch)) = read_run_key(Some(key))
            && let Some(held) = node.find(run, epoch)
        {
            act(&held);
        }
    }
}
