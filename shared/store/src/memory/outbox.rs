//! [`Outbox`] on the tables: messages by id, which is their order.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use domain::alert::Notice;
use domain::alert::fold::fold;
use domain::outbox::{End, Message, Settlement, Sink, SinkRecord, Take};
use domain::report::Post;
use domain::{Alert, Timestamp};

use super::MemoryStore;
use super::tables::Tables;
use crate::{Error, Outbox};

/// The outbox's tables.
#[derive(Debug, Default)]
pub(super) struct OutboxTables {
    rows: BTreeMap<i64, Row>,
    newest: i64,
    moved: BTreeMap<(Sink, String), String>,
    conditions: BTreeSet<String>,
    sources: BTreeMap<String, Timestamp>,
}

#[derive(Clone, Debug)]
struct Row {
    sink: Sink,
    message: Message,
    available_at: Timestamp,
    state: State,
    last_error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Delivered(Timestamp),
    SetAside(Timestamp),
}

impl OutboxTables {
    /// Writes alerts as their facts do, each once.
    pub(super) fn push(&mut self, notices: impl IntoIterator<Item = Notice>) -> Result<(), Error> {
        for notice in notices {
            let payload =
                serde_json::to_string(&notice).map_err(|error| Error::Corrupt(error.to_string()))?;
            let place = (Sink::Unrouted, String::new());
            self.insert(place, notice.key(), payload, notice.at, notice.at);
        }
        Ok(())
    }

    /// Writes what the tracker and the forge are told, each once.
    pub(super) fn post(&mut self, posts: &[Post], at: Timestamp) -> Result<(), Error> {
        for post in posts {
            let payload =
                serde_json::to_string(&post.letter).map_err(|error| Error::Corrupt(error.to_string()))?;
            self.insert((post.sink, post.lane()), post.key.clone(), payload, at, at);
        }
        Ok(())
    }

    /// Notes when a source was heard.
    pub(super) fn hear(&mut self, source: &str, at: Timestamp) {
        let last_at = self.sources.entry(source.to_owned()).or_insert(at);
        *last_at = at.max(*last_at);
    }

    /// What waits, by sink.
    pub(super) fn sinks(&self) -> Vec<SinkRecord> {
        Sink::ALL.into_iter().filter_map(|sink| self.sink(sink)).collect()
    }

    fn sink(&self, sink: Sink) -> Option<SinkRecord> {
        let pending: Vec<&Row> = self.pending(sink).collect();
        let aside: Vec<&Row> = self
            .rows
            .values()
            .filter(|row| row.sink == sink && matches!(row.state, State::SetAside(_)))
            .collect();
        let head = pending.first();
        (head.is_some() || !aside.is_empty()).then(|| SinkRecord {
            sink,
            pending: pending.len() as u64,
            oldest_at: pending.iter().map(|row| row.message.pushed_at).min(),
            last_error: pending.iter().find_map(|row| row.last_error.clone()),
            next_at: head.map(|row| row.available_at),
            set_aside: aside.len() as u64,
            set_aside_error: aside.last().and_then(|row| row.last_error.clone()),
        })
    }

    fn insert(
        &mut self,
        (sink, destination): (Sink, String),
        key: String,
        payload: String,
        pushed_at: Timestamp,
        at: Timestamp,
    ) {
        if self.rows.values().any(|row| row.sink == sink && row.message.key == key) {
            return;
        }
        self.newest += 1;
        let id = self.newest;
        let message = Message { id, destination, key, payload, pushed_at, attempts: 0 };
        let row = Row { sink, message, available_at: at, state: State::Pending, last_error: None };
        self.rows.insert(id, row);
    }

    fn pending(&self, sink: Sink) -> impl Iterator<Item = &Row> {
        self.rows.values().filter(move |row| row.sink == sink && row.state == State::Pending)
    }

    /// The ids of the due lane that waits longest; empty when none is due.
    fn due_lane(&self, sink: Sink, now: Timestamp) -> Vec<i64> {
        let mut lanes: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in self.pending(sink) {
            lanes.entry(&row.message.destination).or_default().push(row);
        }
        let due =
            lanes.into_values().filter(|lane| lane.first().is_some_and(|head| head.available_at <= now));
        let oldest = due.min_by_key(|lane| lane.first().map(|head| head.message.id));
        oldest.unwrap_or_default().iter().map(|row| row.message.id).collect()
    }

    /// Pending alerts of no sink that takes any.
    fn stray<'a>(&'a self, sinks: &'a [Sink]) -> impl Iterator<Item = &'a Row> {
        let strays = |row: &&Row| Sink::OF_ALERTS.contains(&row.sink) && !sinks.contains(&row.sink);
        self.rows.values().filter(|row| row.state == State::Pending).filter(strays)
    }

    fn address(&mut self, sinks: &[Sink], now: Timestamp) {
        let stray: Vec<Row> = self.stray(sinks).cloned().collect();
        for row in stray {
            for sink in sinks {
                let message = row.message.clone();
                self.insert((*sink, String::new()), message.key, message.payload, message.pushed_at, now);
            }
            self.rows.remove(&row.message.id);
        }
    }

    fn take(&mut self, take: &Take) -> Vec<Message> {
        let lane = self.due_lane(take.sink, take.now);
        let mut taken = Vec::new();
        for id in lane.into_iter().take(take.limit as usize) {
            if let Some(row) = self.rows.get_mut(&id) {
                row.message.attempts += 1;
                row.available_at = take.leased_until;
                taken.push(row.message.clone());
            }
        }
        taken
    }

    fn settle(&mut self, settlement: Settlement) {
        let Settlement { messages, end, now } = settlement;
        for (id, attempts) in messages {
            let Some(row) = self.rows.get_mut(&id).filter(|row| row.state == State::Pending) else {
                continue;
            };
            match &end {
                End::Delivered => (row.state, row.last_error) = (State::Delivered(now), None),
                End::SetAside { error } => {
                    (row.state, row.last_error) = (State::SetAside(now), Some(error.clone()));
                }
                End::Again { at, error } if row.message.attempts == attempts => {
                    (row.available_at, row.last_error) = (*at, error.clone());
                }
                End::Again { .. } => {}
            }
        }
    }

    fn fold(&mut self, sink: Sink, now: Timestamp) -> Result<bool, Error> {
        let lane = self.due_lane(sink, now);
        let read = |id: &i64| {
            let notice = serde_json::from_str(&self.rows.get(id)?.message.payload);
            Some(notice.map(|notice| (*id, notice)).map_err(|error| Error::Corrupt(error.to_string())))
        };
        let notices = lane.iter().filter_map(read).collect::<Result<Vec<(i64, Notice)>, Error>>()?;
        for fold in fold(&notices) {
            let payload =
                serde_json::to_string(&fold.notice).map_err(|error| Error::Corrupt(error.to_string()))?;
            if let Some(row) = self.rows.get_mut(&fold.into) {
                row.message.payload = payload;
            }
            self.rows.retain(|id, _| !fold.from.contains(id));
        }
        Ok(true)
    }

    fn prune(&mut self, before: Timestamp) -> bool {
        let count = self.rows.len();
        self.rows.retain(|_, row| match row.state {
            State::Pending => true,
            State::Delivered(at) | State::SetAside(at) => at >= before,
        });
        self.rows.len() < count
    }

    fn set_condition(&mut self, name: String, holds: bool, notice: Notice) -> Result<bool, Error> {
        let is_news = if holds { self.conditions.insert(name) } else { self.conditions.remove(&name) };
        if is_news {
            self.push([notice])?;
        }
        Ok(is_news)
    }
}

impl MemoryStore {
    fn write_outbox<T>(
        &self,
        verb: &'static str,
        write: impl FnOnce(&mut OutboxTables) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.write(verb, |tables: &mut Tables| write(&mut tables.outbox))
    }
}

#[async_trait]
impl Outbox for MemoryStore {
    async fn push_alerts(&self, alerts: Vec<Alert>, now: Timestamp) -> Result<(), Error> {
        let notices = alerts.into_iter().map(|alert| Notice::new(alert, now));
        self.write_outbox("push_alerts", |outbox| outbox.push(notices))
    }

    async fn set_condition(
        &self,
        name: String,
        holds: bool,
        alert: Alert,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let notice = Notice::new(alert, now);
        self.write_outbox("set_condition", |outbox| outbox.set_condition(name, holds, notice))
    }

    async fn conditions(&self) -> Result<Vec<String>, Error> {
        self.read(|tables| tables.outbox.conditions.iter().cloned().collect())
    }

    async fn address_alerts(&self, sinks: Vec<Sink>, now: Timestamp) -> Result<(), Error> {
        let any = self.read(|tables| tables.outbox.stray(&sinks).next().is_some())?;
        if sinks.is_empty() || !any {
            return Ok(());
        }
        self.write_outbox("address_alerts", |outbox| {
            outbox.address(&sinks, now);
            Ok(())
        })
    }

    async fn take_messages(&self, take: Take) -> Result<Vec<Message>, Error> {
        if self.read(|tables| tables.outbox.due_lane(take.sink, take.now).is_empty())? {
            return Ok(Vec::new());
        }
        self.write_outbox("take_messages", |outbox| Ok(outbox.take(&take)))
    }

    async fn settle_messages(&self, settlement: Settlement) -> Result<(), Error> {
        self.write_outbox("settle_messages", |outbox| {
            outbox.settle(settlement);
            Ok(())
        })
    }

    async fn fold_alerts(&self, sink: Sink, over: u32, now: Timestamp) -> Result<bool, Error> {
        if self.read(|tables| tables.outbox.due_lane(sink, now).len() <= over as usize)? {
            return Ok(false);
        }
        self.write_outbox("fold_alerts", |outbox| outbox.fold(sink, now))
    }

    async fn sinks(&self) -> Result<Vec<SinkRecord>, Error> {
        self.read(|tables| tables.outbox.sinks())
    }

    async fn prune_messages(&self, before: Timestamp) -> Result<bool, Error> {
        self.write_outbox("prune_messages", |outbox| Ok(outbox.prune(before)))
    }

    async fn move_destination(
        &self,
        sink: Sink,
        destination: String,
        moved_to: String,
        _: Timestamp,
    ) -> Result<(), Error> {
        self.write_outbox("move_destination", |outbox| {
            outbox.moved.insert((sink, destination), moved_to);
            Ok(())
        })
    }

    async fn destination(&self, sink: Sink, configured: &str) -> Result<String, Error> {
        let key = (sink, configured.to_owned());
        self.read(|tables| tables.outbox.moved.get(&key).cloned().unwrap_or(key.1))
    }

    async fn sources(&self) -> Result<Vec<(String, Timestamp)>, Error> {
        self.read(|tables| tables.outbox.sources.iter().map(|(source, at)| (source.clone(), *at)).collect())
    }
}
