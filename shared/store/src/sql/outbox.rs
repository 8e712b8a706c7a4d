//! The outbox: messages pushed within the transaction of their fact, taken under a lease, settled, folded, pruned.

use async_trait::async_trait;
use domain::Timestamp;
use domain::alert::fold::fold;
use domain::alert::{Alert, Notice};
use domain::outbox::{End, Message, Settlement, Sink, SinkRecord, Take};
use domain::report::Post;
use domain::sanitize::Repair;

use super::connection::{Connection, Row, query};
use super::fault::Fault;
use super::request::{Answer, Request};
use super::rows::{JsonRows, at, at_maybe, get, json, small, text_of, word};
use super::{SqlStore, mismatch};
use crate::{Change, Error, Outbox};

/// Settled messages deleted in one transaction; the next call goes on.
const PRUNED_MAX: i64 = 1_000;

/// What the writer may be asked of the outbox.
#[derive(Debug)]
pub(crate) enum Ask {
    Push(Vec<Notice>),
    Condition { name: String, holds: bool, notice: Notice },
    Address { from: Vec<Sink>, to: Vec<Sink>, now: Timestamp },
    Take(Take),
    Settle(Settlement),
    Fold { sink: Sink, over: u32, now: Timestamp },
    Prune { before: Timestamp },
    Move { sink: Sink, destination: String, moved_to: String, now: Timestamp },
}

/// What the writer says to that.
#[derive(Debug)]
pub(crate) enum Told {
    Done,
    Changed(bool),
    Taken(Vec<Message>),
}

impl Told {
    pub(super) fn changed(self) -> bool {
        matches!(self, Self::Changed(true))
    }

    pub(super) fn taken(self) -> Vec<Message> {
        match self {
            Self::Taken(messages) => messages,
            Self::Done | Self::Changed(_) => Vec::new(),
        }
    }
}

/// Does what is asked, in the writer's transaction.
pub(super) async fn answer(conn: &mut Connection<'_>, ask: &Ask) -> Result<Told, Fault> {
    match ask {
        Ask::Push(notices) => push(conn, notices).await.map(|()| Told::Done),
        Ask::Condition { name, holds, notice } => condition(conn, name, *holds, notice).await,
        Ask::Address { from, to, now } => address(conn, from, to, *now).await,
        Ask::Take(take) => self::take(conn, take).await.map(Told::Taken),
        Ask::Settle(settlement) => settle(conn, settlement).await,
        Ask::Fold { sink, over, now } => fold_lane(conn, *sink, *over, *now).await,
        Ask::Prune { before } => {
            let query = query!("outbox_prune");
            let pruned = query.bind(before.as_ms()).bind(PRUNED_MAX).execute(conn).await?;
            Ok(Told::Changed(pruned > 0))
        }
        Ask::Move { sink, destination, moved_to, now } => {
            let query = query!("destination_move");
            let query = query.bind(sink.as_str()).bind(destination).bind(moved_to).bind(now.as_ms());
            query.execute(conn).await?;
            Ok(Told::Done)
        }
    }
}

/// Writes what the transitions that were made tell people, the tracker and the forge.
pub(super) async fn push_of_changes<'a>(
    conn: &mut Connection<'_>,
    changes: impl Iterator<Item = &'a Change> + Clone,
) -> Result<(), Fault> {
    let posts: Vec<(&Post, Timestamp)> =
        changes.clone().flat_map(|change| change.posts.iter().map(|post| (post, change.now))).collect();
    let notices: Vec<Notice> = changes.flat_map(Change::notices).collect();
    push(&mut *conn, &notices).await?;
    post(conn, &posts).await
}

/// Writes what the tracker and the forge are told with its fact, each once.
pub(super) async fn post(conn: &mut Connection<'_>, posts: &[(&Post, Timestamp)]) -> Result<(), Fault> {
    let mut rows = JsonRows::new();
    for (post, at) in posts {
        rows.push(&(post.sink, post.lane(), &post.key, text_of(&post.letter)?, at))?;
    }
    if !rows.is_empty() {
        query!("outbox_post").bind(rows.into_text()?).execute_later(conn).await?;
    }
    Ok(())
}

/// Writes what repairs tell people.
pub(super) async fn push_of_repairs(
    conn: &mut Connection<'_>,
    repairs: &[Repair],
    now: Timestamp,
) -> Result<(), Fault> {
    let notices: Vec<Notice> =
        repairs.iter().map(|repair| Notice::new(Alert::of_repair(repair), now)).collect();
    push(conn, &notices).await
}

/// Writes alerts with their fact, each once.
pub(super) async fn push(conn: &mut Connection<'_>, notices: &[Notice]) -> Result<(), Fault> {
    if notices.is_empty() {
        return Ok(());
    }
    let mut rows = JsonRows::new();
    for notice in notices {
        rows.push(&(notice.key(), notice, notice.at))?;
    }
    query!("outbox_push").bind(rows.into_text()?).execute_later(conn).await?;
    Ok(())
}

async fn condition(
    conn: &mut Connection<'_>,
    name: &str,
    holds: bool,
    notice: &Notice,
) -> Result<Told, Fault> {
    let query = if holds {
        query!("condition_raise").bind(name).bind(notice.at.as_ms())
    } else {
        query!("condition_clear").bind(name)
    };
    let changed = query.execute(&mut *conn).await? > 0;
    if changed {
        push(conn, std::slice::from_ref(notice)).await?;
    }
    Ok(Told::Changed(changed))
}

async fn address(
    conn: &mut Connection<'_>,
    from: &[Sink],
    to: &[Sink],
    now: Timestamp,
) -> Result<Told, Fault> {
    let from = text_of(&from)?;
    let query = query!("outbox_address");
    query.bind(&from).bind(text_of(&to)?).bind(now.as_ms()).execute(&mut *conn).await?;
    let query = query!("outbox_addressed");
    let addressed = query.bind(from).execute(conn).await?;
    Ok(Told::Changed(addressed > 0))
}

async fn take(conn: &mut Connection<'_>, take: &Take) -> Result<Vec<Message>, Fault> {
    let Some(destination) = due_lane(&mut *conn, take.sink, take.now).await? else { return Ok(Vec::new()) };
    let query = query!("outbox_take");
    let query =
        query.bind(take.sink.as_str()).bind(destination).bind(take.leased_until.as_ms()).bind(take.limit);
    let rows = query.fetch_all(conn).await?;
    let mut messages = rows.iter().map(message).collect::<Result<Vec<_>, Error>>()?;
    messages.sort_unstable_by_key(|message| message.id);
    Ok(messages)
}

async fn settle(conn: &mut Connection<'_>, settlement: &Settlement) -> Result<Told, Fault> {
    let Settlement { messages, end, now } = settlement;
    let (status, settled_at, available_at, error) = match end {
        End::Delivered => ("delivered", Some(*now), None, None),
        End::SetAside { error } => ("set_aside", Some(*now), None, Some(error)),
        End::Again { at, error } => ("pending", None, Some(*at), error.as_ref()),
    };
    query!("outbox_settle")
        .bind(text_of(messages)?)
        .bind(status)
        .bind(settled_at.map(Timestamp::as_ms))
        .bind(available_at.map(Timestamp::as_ms))
        .bind(error)
        .execute(conn)
        .await?;
    Ok(Told::Done)
}

/// Folds a lane of alerts that has grown long, unless somebody has it under a lease.
async fn fold_lane(conn: &mut Connection<'_>, sink: Sink, over: u32, now: Timestamp) -> Result<Told, Fault> {
    let Some(destination) = long_lane(&mut *conn, sink, over, now).await? else {
        return Ok(Told::Changed(false));
    };
    let lane = query!("outbox_lane");
    let lane = lane.bind(sink.as_str()).bind(destination).fetch_all(&mut *conn).await?;
    let read = |row: &Row| Ok((get(row, "id")?, json("notice", get(row, "payload")?)?));
    let lane = lane.iter().map(read).collect::<Result<Vec<(i64, Notice)>, Error>>()?;
    let (mut into, mut from) = (JsonRows::new(), Vec::new());
    for fold in fold(&lane) {
        into.push(&(fold.into, &fold.notice))?;
        from.extend(fold.from);
    }
    let (into, from) = (into.into_text()?, text_of(&from)?);
    query!("outbox_fold").bind(into).execute(&mut *conn).await?;
    query!("outbox_folded").bind(from).execute(conn).await?;
    Ok(Told::Changed(true))
}

async fn long_lane(
    conn: &mut Connection<'_>,
    sink: Sink,
    over: u32,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    let Some(destination) = due_lane(&mut *conn, sink, now).await? else { return Ok(None) };
    let query = query!("outbox_long");
    let long = query.bind(sink.as_str()).bind(&destination).bind(over).fetch_one(conn).await?;
    Ok(long.try_get::<bool, _>(0)?.then_some(destination))
}

async fn due_lane(conn: &mut Connection<'_>, sink: Sink, now: Timestamp) -> Result<Option<String>, Fault> {
    let query = query!("outbox_due").bind(sink.as_str()).bind(now.as_ms());
    Ok(query.fetch_optional(conn).await?.map(|row| row.try_get(0)).transpose()?)
}

fn message(row: &Row) -> Result<Message, Error> {
    Ok(Message {
        id: get(row, "id")?,
        destination: get(row, "destination")?,
        key: get(row, "key")?,
        payload: get(row, "payload")?,
        pushed_at: at(row, "pushed_at")?,
        attempts: small(row, "attempts")?,
    })
}

impl SqlStore {
    async fn ask_outbox(&self, ask: Ask) -> Result<Told, Error> {
        let answer = self.ask(Request::Outbox(ask)).await?;
        if let Answer::Outbox(told) = answer { Ok(told) } else { Err(mismatch(&answer)) }
    }
}

/// Looks first, which takes no lock; the writer is asked only when there is something for it.
#[async_trait]
impl Outbox for SqlStore {
    async fn push_alerts(&self, alerts: Vec<Alert>, now: Timestamp) -> Result<(), Error> {
        let notices = alerts.into_iter().map(|alert| Notice::new(alert, now)).collect();
        self.ask_outbox(Ask::Push(notices)).await.map(|_| ())
    }

    async fn set_condition(
        &self,
        name: String,
        holds: bool,
        alert: Alert,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let notice = Notice::new(alert, now);
        self.ask_outbox(Ask::Condition { name, holds, notice }).await.map(Told::changed)
    }

    async fn conditions(&self) -> Result<Vec<String>, Error> {
        let rows = self.fetch_all(query!("conditions")).await?;
        rows.iter().map(|row| get(row, "name")).collect()
    }

    async fn address_alerts(&self, sinks: Vec<Sink>, now: Timestamp) -> Result<(), Error> {
        let from: Vec<Sink> = Sink::OF_ALERTS.into_iter().filter(|sink| !sinks.contains(sink)).collect();
        let query = query!("outbox_misaddressed").bind(text_of(&from)?);
        let any: bool = self.fetch_one(query).await?.try_get(0)?;
        if sinks.is_empty() || !any {
            return Ok(());
        }
        self.ask_outbox(Ask::Address { from, to: sinks, now }).await.map(|_| ())
    }

    async fn take_messages(&self, take: Take) -> Result<Vec<Message>, Error> {
        let mut reader = self.reader().await?;
        let due = due_lane(&mut reader.connection(), take.sink, take.now).await?;
        reader.finish().await?;
        if due.is_none() {
            return Ok(Vec::new());
        }
        self.ask_outbox(Ask::Take(take)).await.map(Told::taken)
    }

    async fn settle_messages(&self, settlement: Settlement) -> Result<(), Error> {
        self.ask_outbox(Ask::Settle(settlement)).await.map(|_| ())
    }

    async fn fold_alerts(&self, sink: Sink, over: u32, now: Timestamp) -> Result<bool, Error> {
        let mut reader = self.reader().await?;
        let long = long_lane(&mut reader.connection(), sink, over, now).await?;
        reader.finish().await?;
        if long.is_none() {
            return Ok(false);
        }
        self.ask_outbox(Ask::Fold { sink, over, now }).await.map(Told::changed)
    }

    async fn sinks(&self) -> Result<Vec<SinkRecord>, Error> {
        let mut reader = self.reader().await?;
        let sinks = sinks(&mut reader.connection()).await?;
        reader.finish().await?;
        Ok(sinks)
    }

    async fn prune_messages(&self, before: Timestamp) -> Result<bool, Error> {
        self.ask_outbox(Ask::Prune { before }).await.map(Told::changed)
    }

    async fn move_destination(
        &self,
        sink: Sink,
        destination: String,
        moved_to: String,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.ask_outbox(Ask::Move { sink, destination, moved_to, now }).await.map(|_| ())
    }

    async fn destination(&self, sink: Sink, configured: &str) -> Result<String, Error> {
        let query = query!("destination_moved");
        let query = query.bind(sink.as_str()).bind(configured);
        let moved = self.fetch_optional(query).await?;
        moved.map_or_else(|| Ok(configured.to_owned()), |row| Ok(row.try_get(0)?))
    }

    async fn sources(&self) -> Result<Vec<(String, Timestamp)>, Error> {
        let rows = self.fetch_all(query!("sources")).await?;
        rows.iter().map(|row| Ok((get(row, "source")?, at(row, "last_at")?))).collect()
    }
}

/// What waits, by sink.
pub(super) async fn sinks(conn: &mut Connection<'_>) -> Result<Vec<SinkRecord>, Error> {
    let rows = query!("outbox_sinks").fetch_all(conn).await?;
    let mut records: Vec<SinkRecord> = Vec::new();
    for row in &rows {
        let sink = word(row, "sink", Sink::parse)?;
        let index = records.iter().position(|record| record.sink == sink).unwrap_or_else(|| {
            records.push(SinkRecord::empty(sink));
            records.len() - 1
        });
        let (record, pending): (_, u64) = (&mut records[index], small(row, "pending")?);
        if pending > 0 {
            record.pending = pending;
            record.oldest_at = at_maybe(row, "oldest_at")?;
            record.next_at = at_maybe(row, "next_at")?;
            record.last_error = get(row, "error")?;
        } else {
            record.set_aside = small(row, "set_aside")?;
            record.set_aside_error = get(row, "error")?;
        }
    }
    records.sort_unstable_by_key(|record| record.sink);
    Ok(records)
}
