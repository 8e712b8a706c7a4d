//! The runner nodes and their sessions: who may speak for a node, when it was heard of, and what keeps it from work.
//!
//! Kept in memory; the rows in the database follow from here for the eyes of people and for a restart.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::admission::{NodeFacts, WaitReason};
use domain::containment::Containment;
use domain::runner::{Node, NodeState, Preflight};
use domain::{Incarnation, NodeId, Timestamp};
use store::Speaking;
use tokio::sync::watch;

use crate::conditions::Spoken;
use crate::lease::LeaseTerms;
use crate::renewals::Neighbours;

/// How long a node gets no offer after it refused one.
pub(crate) const REST: Duration = Duration::from_secs(2);
/// A preflight older than this says nothing; nodes look far more often.
const PREFLIGHT_AGE_MAX: Duration = Duration::from_hours(1);
/// How often a node's row is written when nothing but the time changed.
const SAVE_EVERY: Duration = Duration::from_secs(15);

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    pub(crate) boot_ms: i64,
}

/// Why a message of a node is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotHeard {
    /// A newer session speaks for the node.
    #[error("another session of node {node} registered since: this one is fenced")]
    Fenced { node: NodeId },
    /// The node, or this incarnation of it, has not registered with this process.
    #[error("node {node} is not registered here: call Register")]
    NotRegistered { node: NodeId },
}

/// What was known of a node before it registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    /// Whether its host has booted since.
    pub(crate) rebooted: bool,
    /// Where an earlier process of it was reached: a connection there leads nowhere, even if the address is the same.
    pub(crate) left_url: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Nodes {
    terms: LeaseTerms,
    known: Mutex<BTreeMap<NodeId, Known>>,
    /// Changes when a node begins to speak to another scheduler.
    moved: watch::Sender<()>,
}

#[derive(Debug)]
struct Known {
    row: Node,
    /// None: known from the database alone, no session speaks to this process.
    session: Option<String>,
    /// It speaks to another scheduler, which was heard to hear it.
    abroad: bool,
    /// How often any scheduler had heard it when that was known last.
    heard: Option<u64>,
    heard_boot_ms: i64,
    /// The newest renew of the session.
    number: u64,
    resting_until_ms: Option<i64>,
    /// Set by a person; holds for the incarnation.
    drain_asked: bool,
    /// Set by a person: this incarnation is gone and is not heard again.
    declared_lost: bool,
    draining: bool,
    saved: Option<(Node, i64)>,
}

impl Nodes {
    /// Starts from the rows; nothing of them counts as silent before a whole lease has passed.
    ///
    /// `lost` are those a person declared lost, up to which incarnation.
    pub(crate) fn new(
        terms: LeaseTerms,
        rows: Vec<Node>,
        lost: &[(NodeId, Incarnation)],
        boot_ms: i64,
    ) -> Self {
        let known = rows.into_iter().map(|row| {
            let declared_lost = lost.iter().any(|(id, last)| *id == row.id && row.incarnation <= *last);
            (row.id.clone(), Known { declared_lost, ..Known::from_row(row, boot_ms) })
        });
        Self { terms, known: Mutex::new(known.collect()), moved: watch::Sender::new(()) }
    }

    /// Makes `session` the one that speaks for a node. An older incarnation than the newest known is refused.
    ///
    /// `heard` is how often any scheduler heard the node, where there are several.
    pub(crate) fn register(
        &self,
        row: Node,
        session: String,
        heard: Option<u64>,
        at: Moment,
    ) -> Result<Before, NotHeard> {
        let mut nodes = self.lock();
        let old = nodes.get(&row.id);
        let gone = |old: &Known| old.declared_lost && old.row.incarnation == row.incarnation;
        if old.is_some_and(|old| old.row.incarnation > row.incarnation || gone(old)) {
            return Err(NotHeard::Fenced { node: row.id });
        }
        let is_other =
            |old: &Node| old.incarnation < row.incarnation || old.advertise_url != row.advertise_url;
        let before = Before {
            rebooted: old.is_some_and(|old| old.row.boot_id != row.boot_id),
            left_url: old.filter(|old| is_other(&old.row)).map(|old| old.row.advertise_url.clone()),
        };
        let drain_asked = old.is_some_and(|old| old.drain_asked && old.row.incarnation == row.incarnation);
        let known = Known {
            session: Some(session),
            abroad: false,
            heard,
            heard_boot_ms: at.boot_ms,
            number: 0,
            resting_until_ms: None,
            drain_asked,
            declared_lost: false,
            draining: row.state == NodeState::Draining,
            saved: old.and_then(|old| old.saved.clone()),
            row,
        };
        nodes.insert(known.row.id.clone(), known);
        Ok(before)
    }

    /// Checks that `session` speaks for the node.
    pub(crate) fn check(
        &self,
        node: &NodeId,
        incarnation: Incarnation,
        session: &str,
    ) -> Result<(), NotHeard> {
        Self::speaking(&mut self.lock(), node, incarnation, session).map(|_| ())
    }

    /// Takes a renew; true when it is news, false when a later one was taken before.
    pub(crate) fn renew(
        &self,
        node: &NodeId,
        incarnation: Incarnation,
        session: &str,
        renew: Renewed,
        at: Moment,
    ) -> Result<bool, NotHeard> {
        let mut nodes = self.lock();
        let known = Self::speaking(&mut nodes, node, incarnation, session)?;
        if renew.number <= known.number {
            return Ok(false);
        }
        known.number = renew.number;
        known.heard_boot_ms = at.boot_ms;
        known.row.last_seen_at = at.now;
        known.row.preflight = renew.preflight;
        known.row.containment = renew.containment;
        known.draining = renew.draining;
        Ok(true)
    }

    /// Notes how often any scheduler had heard a node when this one did last.
    pub(crate) fn heard(&self, node: &NodeId, heard: u64) {
        if let Some(known) = self.lock().get_mut(node) {
            known.heard = Some(heard);
        }
    }

    /// Whether a node's session speaks to this process.
    pub(crate) fn speaks_here(&self, node: &NodeId) -> bool {
        self.lock().get(node).is_some_and(|known| known.session.is_some())
    }

    /// Wakes when a node begins to speak to another scheduler.
    pub(crate) fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Learns what other schedulers wrote: `home` is what this one is called. Gives where nodes were reached that are
    /// reached elsewhere now.
    pub(crate) fn learn(
        &self,
        rows: Vec<Node>,
        sessions: &BTreeMap<NodeId, Speaking>,
        lost: &[(NodeId, Incarnation)],
        home: &str,
        boot_ms: i64,
    ) -> Vec<(NodeId, String)> {
        let (mut nodes, mut left, mut moved) = (self.lock(), Vec::new(), false);
        for row in rows {
            let speaking = sessions.get(&row.id);
            let is_lost = lost.iter().any(|(id, last)| *id == row.id && row.incarnation <= *last);
            let known = nodes.entry(row.id.clone()).or_insert_with(|| Known::from_row(row.clone(), boot_ms));
            // What this process wrote itself may be newer than what was read.
            let is_news = speaking.is_some_and(|one| known.heard.is_none_or(|heard| heard < one.heard));
            known.declared_lost |= is_lost && known.row.incarnation == row.incarnation;
            let Some(speaking) = speaking.filter(|one| is_news && one.session.home != home) else { continue };
            moved |= known.session.take().is_some();
            // The first count that is read may be of long ago.
            if known.heard.replace(speaking.heard).is_some() {
                (known.abroad, known.heard_boot_ms) = (true, boot_ms);
            }
            if known.row.incarnation > row.incarnation {
                continue;
            }
            if known.row.incarnation < row.incarnation {
                (known.drain_asked, known.declared_lost, known.resting_until_ms) = (false, is_lost, None);
            }
            let is_other =
                known.row.incarnation != row.incarnation || known.row.advertise_url != row.advertise_url;
            if is_other {
                left.push((row.id.clone(), known.row.advertise_url.clone()));
            }
            known.draining = row.state == NodeState::Draining;
            known.saved = Some((row.clone(), boot_ms));
            known.row = row;
        }
        drop(nodes);
        if moved {
            self.moved.send_replace(());
        }
        left
    }

    /// Gives a node no offer for a moment, since its incarnation `refused` one: a newer one starts afresh.
    pub(crate) fn rest(&self, node: &NodeId, refused: Incarnation, boot_ms: i64) {
        if let Some(known) = self.lock().get_mut(node).filter(|known| known.row.incarnation <= refused) {
            known.resting_until_ms = Some(boot_ms.saturating_add(millis(REST)));
        }
    }

    /// Gives a node no offer until its next incarnation; false when it is unknown.
    pub(crate) fn drain(&self, node: &NodeId) -> bool {
        self.lock().get_mut(node).is_some_and(|known| {
            known.drain_asked = true;
            true
        })
    }

    /// Takes a person's word that a node is gone; gives the incarnation that is not heard again, `None` for an
    /// unknown node.
    pub(crate) fn lose(&self, node: &NodeId) -> Option<Incarnation> {
        let mut nodes = self.lock();
        let known = nodes.get_mut(node)?;
        known.declared_lost = true;
        Some(known.row.incarnation)
    }

    /// The nodes a person declared lost that no newer incarnation has spoken for since, each with its last one.
    pub(crate) fn declared_lost(&self) -> Vec<(NodeId, Incarnation)> {
        let lost = |known: &Known| (known.row.id.clone(), known.row.incarnation);
        self.lock().values().filter(|known| known.declared_lost).map(lost).collect()
    }

    /// Where every node that may be there is reached.
    pub(crate) fn urls(&self) -> Vec<(NodeId, String)> {
        let there = |known: &&Known| !known.declared_lost;
        let place = |known: &Known| (known.row.id.clone(), known.row.advertise_url.clone());
        self.lock().values().filter(there).map(place).collect()
    }

    /// Where a node is reached.
    pub(crate) fn url(&self, node: &NodeId) -> Option<String> {
        self.lock().get(node).map(|known| known.row.advertise_url.clone())
    }

    /// A registered node's row as it stands.
    pub(crate) fn row(&self, node: &NodeId, at: Moment) -> Option<Node> {
        self.lock().get(node).map(|known| known.shown(&self.terms, at.boot_ms))
    }

    /// The nodes as admission sees them.
    pub(crate) fn facts(&self, at: Moment) -> Vec<NodeFacts> {
        self.lock()
            .values()
            .map(|known| {
                let blocked = known.blocked(&self.terms, at);
                let (blocked, blocked_until) =
                    blocked.map_or((None, None), |(why, until)| (Some(why), until));
                NodeFacts {
                    node: known.row.id.clone(),
                    incarnation: known.row.incarnation,
                    account: known.row.account.clone(),
                    slots: known.row.slots,
                    tier: known.row.containment.tier,
                    blocked,
                    blocked_until,
                }
            })
            .collect()
    }

    /// Whether nothing keeps a node from work.
    pub(crate) fn is_open(&self, node: &NodeId, at: Moment) -> bool {
        self.lock().get(node).is_some_and(|known| known.blocked(&self.terms, at).is_none())
    }

    /// What the preflights of the nodes say that speak and have looked.
    pub(crate) fn preflights(&self, at: Moment) -> Vec<Spoken> {
        let speaks = |known: &&Known| {
            let state = known.state(&self.terms, at.boot_ms);
            known.speaks() && matches!(state, NodeState::Ready | NodeState::Draining)
        };
        let looked = |known: &&Known| known.row.preflight.checked_at != Timestamp::default();
        let said = |known: &Known| {
            let error = preflight_error(&known.row.id, &known.row.preflight, at.now);
            (known.row.id.clone(), error.map_or(Ok(()), Err))
        };
        self.lock().values().filter(speaks).filter(looked).map(said).collect()
    }

    /// When nodes that are silent from now on change their state.
    pub(crate) fn changes(&self, boot_ms: i64) -> Vec<i64> {
        let nodes = self.lock();
        nodes.values().filter_map(|known| known.changes_at(&self.terms, boot_ms)).collect()
    }

    /// The rows worth writing now: changed, or not written for a while. A node that does not speak here is written by
    /// whom it speaks to, and when it is silent by whoever leads.
    pub(crate) fn unsaved(&self, neighbours: Neighbours, leads: bool, boot_ms: i64) -> Vec<Node> {
        let worth = |known: &&Known| {
            let shown = known.shown(&self.terms, boot_ms);
            if neighbours == Neighbours::Perhaps && known.session.is_none() {
                let is_silent = matches!(shown.state, NodeState::Unreachable | NodeState::Lost);
                let saved = known.saved.as_ref().map(|(saved, _)| saved.state);
                return leads && is_silent && saved != Some(shown.state);
            }
            known.saved.as_ref().is_none_or(|(saved, at)| {
                let same_but_time = Node { last_seen_at: saved.last_seen_at, ..shown.clone() } == *saved;
                !same_but_time || (shown != *saved && boot_ms.saturating_sub(*at) >= millis(SAVE_EVERY))
            })
        };
        self.lock().values().filter(worth).map(|known| known.shown(&self.terms, boot_ms)).collect()
    }

    /// Notes that a row was written.
    pub(crate) fn saved(&self, row: Node, boot_ms: i64) {
        if let Some(known) = self.lock().get_mut(&row.id) {
            known.saved = Some((row, boot_ms));
        }
    }

    fn speaking<'a>(
        nodes: &'a mut BTreeMap<NodeId, Known>,
        node: &NodeId,
        incarnation: Incarnation,
        session: &str,
    ) -> Result<&'a mut Known, NotHeard> {
        let not_registered = || NotHeard::NotRegistered { node: node.clone() };
        let known = nodes.get_mut(node).ok_or_else(not_registered)?;
        let gone = known.declared_lost && incarnation == known.row.incarnation;
        if incarnation < known.row.incarnation || gone {
            return Err(NotHeard::Fenced { node: node.clone() });
        }
        match &known.session {
            None => Err(not_registered()),
            Some(_) if incarnation > known.row.incarnation => Err(not_registered()),
            Some(current) if current != session => Err(NotHeard::Fenced { node: node.clone() }),
            Some(_) => Ok(known),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a renew says of its node.
#[derive(Clone, Debug)]
pub(crate) struct Renewed {
    pub(crate) number: u64,
    pub(crate) draining: bool,
    pub(crate) preflight: Preflight,
    pub(crate) containment: Containment,
}

impl Known {
    /// A node as another scheduler wrote it.
    fn from_row(row: Node, boot_ms: i64) -> Self {
        Self {
            session: None,
            abroad: false,
            heard: None,
            heard_boot_ms: boot_ms,
            number: 0,
            resting_until_ms: None,
            drain_asked: false,
            declared_lost: false,
            draining: row.state == NodeState::Draining,
            saved: Some((row.clone(), boot_ms)),
            row,
        }
    }

    /// Whether it speaks to this scheduler or another.
    const fn speaks(&self) -> bool {
        self.session.is_some() || self.abroad
    }

    fn shown(&self, terms: &LeaseTerms, boot_ms: i64) -> Node {
        Node { state: self.state(terms, boot_ms), ..self.row.clone() }
    }

    fn state(&self, terms: &LeaseTerms, boot_ms: i64) -> NodeState {
        let silent_ms = boot_ms.saturating_sub(self.heard_boot_ms);
        if self.declared_lost || silent_ms > millis(terms.scheduler) {
            NodeState::Lost
        } else if silent_ms > millis(self.silence(terms)) {
            // A node that was given up before a restart stays so until it speaks.
            if !self.speaks() && self.row.state == NodeState::Lost {
                NodeState::Lost
            } else {
                NodeState::Unreachable
            }
        } else if !self.speaks() {
            self.row.state
        } else if self.draining || self.drain_asked {
            NodeState::Draining
        } else {
            NodeState::Ready
        }
    }

    /// How long it may be silent.
    fn silence(&self, terms: &LeaseTerms) -> Duration {
        if self.session.is_some() { terms.silence() } else { terms.silence_abroad() }
    }

    /// When silence changes its state next.
    fn changes_at(&self, terms: &LeaseTerms, boot_ms: i64) -> Option<i64> {
        let over = |limit| self.heard_boot_ms.saturating_add(millis(limit)).saturating_add(1);
        let instants = [over(self.silence(terms)), over(terms.scheduler)];
        instants.into_iter().filter(|_| !self.declared_lost).find(|at| *at > boot_ms)
    }

    fn blocked(&self, terms: &LeaseTerms, at: Moment) -> Option<(WaitReason, Option<Timestamp>)> {
        if !self.speaks() || self.declared_lost {
            return Some((WaitReason::Unreachable, None));
        }
        match self.state(terms, at.boot_ms) {
            NodeState::Lost | NodeState::Unreachable => return Some((WaitReason::Unreachable, None)),
            NodeState::Draining => return Some((WaitReason::Draining, None)),
            NodeState::Ready => {}
        }
        if let Some(error) = preflight_error(&self.row.id, &self.row.preflight, at.now) {
            return Some((WaitReason::Preflight { error }, None));
        }
        let left_ms = self.resting_until_ms.unwrap_or(0).saturating_sub(at.boot_ms);
        let left = u64::try_from(left_ms).ok().filter(|left| *left > 0)?;
        Some((WaitReason::Resting, Some(at.now.plus(Duration::from_millis(left)))))
    }
}

fn preflight_error(node: &NodeId, preflight: &Preflight, now: Timestamp) -> Option<String> {
    if !preflight.ok {
        let error = preflight.error.as_deref().unwrap_or("no preflight reported yet");
        return Some(format!("{error} (runner {node})"));
    }
    let age = now.since(preflight.checked_at);
    (age > PREFLIGHT_AGE_MAX)
        .then(|| format!("the last preflight of runner {node} is {} s old: check its clock", age.as_secs()))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
