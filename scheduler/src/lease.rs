//! How long a run may live unheard, and which runs are heard of: plain data and arithmetic, no I/O.
//!
//! Instants are milliseconds of a clock that counts suspend (`Clock::boot_ms`), taken when a message is received.
//! What follows from an expired lease is the reaper's business.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::job::LiveRunState;
use domain::transition::LostHow;
use domain::{Epoch, Incarnation, JobId, NodeId, RunId, silence};

use crate::stall::smells_of_our_own_stall;

/// What it takes beyond the grace until a killed agent is certainly gone.
const REAP: Duration = Duration::from_secs(1);
/// How far two clocks may drift apart, in percent.
const DRIFT_PERCENT: u32 = 1;

/// What it takes at most to find that a node is silent and to write it, on a host that is not overloaded.
const TELL: Duration = Duration::from_millis(500);
/// How often leases and nodes are looked at, at least.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The times the lease protocol runs by (PROTOCOL.md, "Lease").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// The scheduler gives a run up after this long without a renew (`ORCH_LEASE_SECONDS`).
    pub scheduler: Duration,
    /// The node ends a run after this long without an answer (`ORCH_RUNNER_LEASE_SECONDS`).
    pub runner: Duration,
    /// How often a node renews (`ORCH_RENEW_SECONDS`).
    pub renew: Duration,
    /// A node silent for this long gets no new work (`ORCH_UNREACHABLE_SECONDS`).
    pub unreachable: Duration,
    /// From SIGTERM to SIGKILL (`ORCH_KILL_GRACE_SECONDS`).
    pub kill_grace: Duration,
}

impl LeaseTerms {
    /// Checks that the node has certainly ended a run before the scheduler gives it to another.
    ///
    /// # Errors
    /// The arithmetic, for the person who wrote the settings.
    pub fn check(&self) -> Result<(), String> {
        let budget = self.kill_grace + REAP;
        let least = (self.runner + budget) * (100 + DRIFT_PERCENT) / 100;
        if self.scheduler < least {
            return Err(format!(
                "ORCH_LEASE_SECONDS is {:.1}, too short: it must be at least (ORCH_RUNNER_LEASE_SECONDS {:.1} + \
                 ORCH_KILL_GRACE_SECONDS {:.1} + {:.1}) * 1.{DRIFT_PERCENT:02} = {:.1}, or two agents could live for one job",
                self.scheduler.as_secs_f64(),
                self.runner.as_secs_f64(),
                self.kill_grace.as_secs_f64(),
                REAP.as_secs_f64(),
                least.as_secs_f64(),
            ));
        }
        if self.renew.is_zero() || self.renew * 2 > self.runner {
            return Err(format!(
                "ORCH_RENEW_SECONDS is {:.1}: it must be above 0 and at most half of ORCH_RUNNER_LEASE_SECONDS {:.1}, \
                 or one lost message ends every agent",
                self.renew.as_secs_f64(),
                self.runner.as_secs_f64(),
            ));
        }
        if self.unreachable <= self.renew {
            return Err(format!(
                "ORCH_UNREACHABLE_SECONDS is {:.1}: it must be above ORCH_RENEW_SECONDS {:.1}, \
                 or a healthy node counts as silent",
                self.unreachable.as_secs_f64(),
                self.renew.as_secs_f64(),
            ));
        }
        Ok(())
    }

    /// How long a node may be silent before it counts as unreachable, so that it is one for everybody within
    /// [`Self::unreachable`].
    pub(crate) fn silence(&self) -> Duration {
        silence::limit(self.unreachable, self.renew, TELL)
    }

    /// The same of a node whose renewals are learned from the database, up to one look after they came.
    pub(crate) fn silence_abroad(&self) -> Duration {
        silence::limit(self.unreachable, self.renew, TELL + LOOK_EVERY)
    }
}

/// A live run as the lease protocol knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveRun {
    pub(crate) run: RunId,
    pub(crate) job: JobId,
    pub(crate) epoch: Epoch,
    pub(crate) node: NodeId,
    /// The newest incarnation known to hold it: the one it was offered to, or one that listed it since.
    pub(crate) incarnation: Incarnation,
    pub(crate) state: LiveRunState,
    pub(crate) cancel_requested: bool,
    /// The conversation its agent goes on with.
    pub(crate) resumed_session: Option<String>,
    /// The `traceparent` of its claim; after a restart its job's.
    pub(crate) trace_context: Option<String>,
}

/// What a node is told about the runs it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reconciled {
    /// Held, but not theirs to hold any more.
    pub(crate) fenced: Vec<(RunId, Epoch)>,
    /// Held, and a person asked for the end.
    pub(crate) cancel: Vec<(RunId, Epoch)>,
}

/// Every live run and when it was last heard of.
#[derive(Debug, Default)]
pub(crate) struct LeaseBook {
    leases: BTreeMap<RunId, Lease>,
}

#[derive(Debug)]
struct Lease {
    run: LiveRun,
    heard_boot_ms: i64,
    /// How often it had been renewed when the database was read last, whoever heard that.
    renewals: u64,
    /// Was to be given up once, and was spared for one more lease; until it is heard of again.
    spared: bool,
    /// Given up: whoever holds it is fenced from now on, even before the database says so.
    given_up: Option<LostHow>,
}

impl LeaseBook {
    /// Takes a run in, heard of now; keeps what is known of one that is there already.
    pub(crate) fn insert(&mut self, run: LiveRun, boot_ms: i64) {
        self.leases.entry(run.run).or_insert(Lease {
            run,
            heard_boot_ms: boot_ms,
            renewals: 0,
            spared: false,
            given_up: None,
        });
    }

    pub(crate) fn remove(&mut self, run: RunId) -> bool {
        self.leases.remove(&run).is_some()
    }

    pub(crate) fn get(&self, run: RunId) -> Option<&LiveRun> {
        self.leases.get(&run).map(|lease| &lease.run)
    }

    /// The states of all of them.
    pub(crate) fn states(&self) -> Vec<LiveRunState> {
        self.leases.values().map(|lease| lease.run.state).collect()
    }

    pub(crate) fn ids(&self) -> BTreeSet<RunId> {
        self.leases.keys().copied().collect()
    }

    /// Takes down that a run shall end; tells whether that is new.
    pub(crate) fn request_cancel(&mut self, run: RunId) -> bool {
        let Some(lease) = self.leases.get_mut(&run) else { return false };
        !std::mem::replace(&mut lease.run.cancel_requested, true)
    }

    pub(crate) fn set_started(&mut self, run: RunId) {
        if let Some(lease) = self.leases.get_mut(&run) {
            lease.run.state = LiveRunState::Started;
        }
    }

    /// Extends the lease of one run before its Start is decided; none when the node has no claim to it.
    pub(crate) fn touch(
        &mut self,
        run: RunId,
        epoch: Epoch,
        node: &NodeId,
        incarnation: Incarnation,
        boot_ms: i64,
    ) -> Option<&LiveRun> {
        let lease = self.leases.get_mut(&run)?;
        if !lease.is_of(epoch, node) {
            return None;
        }
        lease.hear(incarnation, boot_ms);
        Some(&lease.run)
    }

    /// Extends the leases of what a node holds, and says what it must end.
    pub(crate) fn renew(
        &mut self,
        node: &NodeId,
        incarnation: Incarnation,
        held: &[(RunId, Epoch)],
        boot_ms: i64,
    ) -> Reconciled {
        let mut reconciled = Reconciled::default();
        for &(run, epoch) in held {
            match self.leases.get_mut(&run).filter(|lease| lease.is_of(epoch, node)) {
                None => reconciled.fenced.push((run, epoch)),
                Some(lease) => {
                    lease.hear(incarnation, boot_ms);
                    if lease.run.cancel_requested {
                        reconciled.cancel.push((run, epoch));
                    }
                }
            }
        }
        reconciled
    }

    /// Hears what other schedulers heard: a run that was renewed since the last look is heard of now.
    pub(crate) fn observe(&mut self, renewals: &BTreeMap<RunId, u64>, boot_ms: i64) {
        for (run, &count) in renewals {
            let Some(lease) = self.leases.get_mut(run).filter(|lease| lease.renewals != count) else {
                continue;
            };
            lease.renewals = count;
            lease.heard_boot_ms = lease.heard_boot_ms.max(boot_ms);
            lease.spared = false;
            // It could not be written that it was given up, and it is not.
            lease.given_up = lease.given_up.filter(|how| *how != LostHow::LeaseExpired);
        }
    }

    /// How often a run had been renewed when the database was read last.
    pub(crate) fn renewals(&self, run: RunId) -> Option<u64> {
        self.leases.get(&run).map(|lease| lease.renewals)
    }

    /// When the leases run out that nobody has given up.
    pub(crate) fn expiries(&self, lease: Duration) -> impl Iterator<Item = i64> {
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let kept = self.leases.values().filter(|one| one.given_up.is_none());
        kept.map(move |one| one.heard_boot_ms.saturating_add(lease_ms).saturating_add(1))
    }

    /// Spares the runs whose lease runs out for one more, where so many do that it smells of our own stall; says how
    /// many. A run is spared once until it is heard of again.
    ///
    /// The first that runs out is looked at at once, those that follow within [`LOOK_EVERY`] are counted with it: they ran
    /// out together.
    pub(crate) fn spare(&mut self, lease: Duration, boot_ms: i64) -> usize {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let ran_out = |one: &Lease, by_ms: i64| {
            let unheard_ms = by_ms.saturating_sub(one.heard_boot_ms);
            one.given_up.is_none() && !one.spared && unheard_ms > millis(lease)
        };
        if !self.leases.values().any(|one| ran_out(one, boot_ms)) {
            return 0;
        }
        let soon_ms = boot_ms.saturating_add(millis(LOOK_EVERY));
        let expiring = self.leases.values().filter(|one| ran_out(one, soon_ms)).map(|one| &one.run.node);
        if !smells_of_our_own_stall(expiring) {
            return 0;
        }
        let mut spared = 0;
        for one in self.leases.values_mut().filter(|one| ran_out(one, soon_ms)) {
            (one.spared, one.heard_boot_ms) = (true, boot_ms);
            spared += 1;
        }
        spared
    }

    /// Gives up every run unheard of for longer than `lease`; those given up before are told again, with their reason.
    pub(crate) fn expire(&mut self, lease: Duration, boot_ms: i64) -> Vec<(LiveRun, LostHow)> {
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let over = |one: &Lease| boot_ms.saturating_sub(one.heard_boot_ms) > lease_ms;
        self.leases
            .values_mut()
            .filter_map(|one| {
                if one.given_up.is_none() && over(one) {
                    one.given_up = Some(LostHow::LeaseExpired);
                }
                Some((one.run.clone(), one.given_up?))
            })
            .collect()
    }

    /// Gives up the runs of a node that certainly died: a newer incarnation does not hold them any more (PROTOCOL.md,
    /// "Identity"). Another boot has another incarnation; beside the same one it proves nothing: the row of before was
    /// never saved, or two hosts have one identity.
    pub(crate) fn bury(
        &mut self,
        node: &NodeId,
        incarnation: Incarnation,
        held: &[(RunId, Epoch)],
    ) -> Vec<LiveRun> {
        self.leases
            .values_mut()
            .filter(|lease| lease.run.node == *node)
            .filter(|lease| lease.run.incarnation < incarnation)
            .filter(|lease| !held.contains(&(lease.run.run, lease.run.epoch)))
            .map(|lease| {
                lease.given_up = Some(LostHow::NodeLost);
                lease.run.clone()
            })
            .collect()
    }
}

impl LeaseBook {
    /// Gives up every run that a node held when a person said it is gone: another scheduler may speak with a later
    /// incarnation of it.
    pub(crate) fn lose(&mut self, node: &NodeId, last: Incarnation) -> Vec<LiveRun> {
        self.leases
            .values_mut()
            .filter(|lease| lease.run.node == *node && lease.run.incarnation <= last)
            .map(|lease| {
                lease.given_up = Some(LostHow::NodeLost);
                lease.run.clone()
            })
            .collect()
    }
}

impl Lease {
    fn is_of(&self, epoch: Epoch, node: &NodeId) -> bool {
        self.given_up.is_none() && self.run.epoch == epoch && self.run.node == *node
    }

    fn hear(&mut self, incarnation: Incarnation, boot_ms: i64) {
        self.heard_boot_ms = self.heard_boot_ms.max(boot_ms);
        self.spared = false;
        self.run.incarnation = self.run.incarnation.max(incarnation);
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use uuid::Uuid;

    use super::*;

    const L_S: Duration = Duration::from_mins(7);

    fn terms() -> LeaseTerms {
        LeaseTerms {
            scheduler: L_S,
            runner: Duration::from_mins(5),
            renew: Duration::from_secs(5),
            unreachable: Duration::from_secs(20),
            kill_grace: Duration::from_secs(10),
        }
    }

    fn live(id: u128) -> LiveRun {
        LiveRun {
            run: RunId(Uuid::from_u128(id)),
            job: JobId(i64::try_from(id).unwrap()),
            epoch: Epoch(1),
            node: NodeId("n".to_owned()),
            incarnation: Incarnation(3),
            state: LiveRunState::Started,
            cancel_requested: false,
            resumed_session: None,
            trace_context: None,
        }
    }

    fn key(run: &LiveRun) -> (RunId, Epoch) {
        (run.run, run.epoch)
    }

    #[test]
    fn the_defaults_hold_and_a_lease_too_short_is_refused_with_the_sum() {
        assert_eq!(terms().check(), Ok(()));
        let short = LeaseTerms { scheduler: Duration::from_secs(314), ..terms() };
        assert_eq!(
            short.check().unwrap_err(),
            "ORCH_LEASE_SECONDS is 314.0, too short: it must be at least (ORCH_RUNNER_LEASE_SECONDS 300.0 + \
             ORCH_KILL_GRACE_SECONDS 10.0 + 1.0) * 1.01 = 314.1, or two agents could live for one job"
        );
        assert!(LeaseTerms { renew: Duration::from_secs(151), ..terms() }.check().is_err());
        assert!(LeaseTerms { unreachable: Duration::from_secs(5), ..terms() }.check().is_err());
    }

    #[test]
    fn a_lease_lives_as_long_as_it_is_heard_of_and_is_fenced_once_it_expires() {
        let (mut book, run) = (LeaseBook::default(), live(1));
        book.insert(run.clone(), 0);
        assert_eq!(book.expire(L_S, 420_000), []);
        assert_eq!(book.renew(&run.node, Incarnation(4), &[key(&run)], 400_000), Reconciled::default());
        assert_eq!(book.expire(L_S, 820_000), []);
        let adopted = LiveRun { incarnation: Incarnation(4), ..run.clone() };
        let over = (adopted, LostHow::LeaseExpired);
        assert_eq!(book.expire(L_S, 820_001), slice::from_ref(&over));
        // From here on no message brings it back, and the reaper finds it until the database has it.
        let fenced = book.renew(&run.node, Incarnation(4), &[key(&run)], 820_002);
        assert_eq!(fenced, Reconciled { fenced: vec![key(&run)], cancel: vec![] });
        assert_eq!(book.touch(run.run, run.epoch, &run.node, Incarnation(4), 820_002), None);
        assert_eq!(book.expire(L_S, 820_003), [over]);
        assert!(book.remove(run.run) && !book.remove(run.run));
    }

    #[test]
    fn another_node_or_epoch_holds_nothing() {
        let (mut book, run) = (LeaseBook::default(), live(1));
        book.insert(run.clone(), 0);
        let (other, old) = (NodeId("m".to_owned()), (run.run, Epoch(0)));
        assert_eq!(book.renew(&other, Incarnation(1), &[key(&run)], 9).fenced, [key(&run)]);
        assert_eq!(book.renew(&run.node, Incarnation(3), &[old], 9).fenced, [old]);
        assert_eq!(book.touch(run.run, run.epoch, &other, Incarnation(3), 9), None);
    }

    #[test]
    fn a_cancel_is_repeated_in_every_answer() {
        let (mut book, run) = (LeaseBook::default(), live(1));
        book.insert(run.clone(), 0);
        book.request_cancel(run.run);
        for at in [1, 2] {
            assert_eq!(book.renew(&run.node, Incarnation(3), &[key(&run)], at).cancel, [key(&run)]);
        }
    }

    #[test]
    fn a_mass_expiry_is_put_off_by_one_lease_and_no_more() {
        let mut book = LeaseBook::default();
        for id in 1..=12 {
            let node = NodeId(format!("n{}", id % 3));
            book.insert(LiveRun { node, ..live(id) }, 0);
        }
        assert_eq!(book.spare(L_S, 420_000), 0);
        // A jump of the clock: all at once.
        assert_eq!((book.spare(L_S, 900_000), book.expire(L_S, 900_000)), (12, vec![]));
        let heard = live(3);
        let renewed = book.renew(&NodeId("n0".to_owned()), Incarnation(3), &[key(&heard)], 1_000_000);
        assert_eq!(renewed, Reconciled::default());
        assert_eq!((book.spare(L_S, 1_320_000), book.expire(L_S, 1_320_000)), (0, vec![]));
        assert_eq!((book.spare(L_S, 1_320_001), book.expire(L_S, 1_320_001).len()), (0, 11));
    }

    #[test]
    fn leases_that_run_out_within_a_second_are_one_mass_although_the_first_is_looked_at_at_once() {
        let mut book = LeaseBook::default();
        for id in 1..=12 {
            let node = NodeId(format!("n{}", id % 3));
            book.insert(LiveRun { node, ..live(id) }, i64::try_from(id).unwrap() * 80);
        }
        let first = book.expiries(L_S).min().unwrap();
        assert_eq!((first, book.spare(L_S, first - 1)), (420_081, 0));
        assert_eq!((book.spare(L_S, first), book.expire(L_S, first)), (12, vec![]));
        assert_eq!(book.expiries(L_S).min(), Some(840_082));
    }

    #[test]
    fn only_a_newer_incarnation_proves_a_death() {
        let (held, gone) = (live(1), live(2));
        let book = || {
            let mut book = LeaseBook::default();
            book.insert(held.clone(), 0);
            book.insert(gone.clone(), 0);
            book
        };
        let node = &held.node;
        // The same incarnation may not have heard of it yet, whatever its host's boot id says.
        assert_eq!(book().bury(node, Incarnation(3), &[key(&held)]), []);
        assert_eq!(book().bury(node, Incarnation(4), &[key(&held)]), slice::from_ref(&gone));
        assert_eq!(book().bury(&NodeId("m".to_owned()), Incarnation(9), &[]), []);
        // What could not be written at once keeps its reason.
        let mut unwritten = book();
        unwritten.bury(node, Incarnation(4), &[key(&held)]);
        assert_eq!(unwritten.expire(L_S, 1), [(gone, LostHow::NodeLost)]);
    }
}
