//! Deliveries and jobs in: finds what a batch repeats, of the database and of itself, and inserts the rest.

use std::collections::HashMap;

use domain::delivery::{Accepted, NewDelivery, NewJob};
use domain::{JobId, Timestamp};
use sqlx::SqliteConnection;

use super::fault::Fault;
use super::rows::{JsonRows, get, json};
use crate::{Enqueued, Error};

/// One operation of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'a> {
    Delivery(&'a NewDelivery),
    Job(&'a NewJob, Timestamp),
}

/// The answer to the item of the same place.
#[derive(Clone, Debug)]
pub(super) enum ItemAnswer {
    Delivery(Accepted),
    Job(Enqueued),
}

/// Commits nothing itself; answers in the order of `items`.
pub(super) async fn accept(
    conn: &mut SqliteConnection,
    items: &[Item<'_>],
) -> Result<Vec<ItemAnswer>, Fault> {
    let known = Known::look_up(conn, items).await?;
    let mut intake = Intake::new(known);
    let answers = items.iter().map(|item| intake.take(item)).collect::<Result<Vec<_>, Error>>()?;
    intake.write(conn).await?;
    Ok(answers)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Enqueued,
    Duplicate,
    Ignored,
}

impl Decision {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Enqueued, Self::Duplicate, Self::Ignored].into_iter().find(|it| it.as_str() == word)
    }
}

/// A delivery seen before, in the database or earlier in the batch.
#[derive(Clone, Debug)]
struct Seen {
    body_sha256: String,
    decision: Decision,
    jobs: Vec<JobId>,
}

type DeliveryKey<'a> = (&'a str, &'a str);
type BodyKey<'a> = (&'a str, &'a str, &'a str);

/// What the batch may repeat.
#[derive(Debug, Default)]
struct Known<'a> {
    by_delivery: HashMap<DeliveryKey<'a>, Seen>,
    by_body: HashMap<BodyKey<'a>, Vec<JobId>>,
    by_key: HashMap<String, JobId>,
    newest_job: i64,
}

impl<'a> Known<'a> {
    async fn look_up(conn: &mut SqliteConnection, items: &[Item<'a>]) -> Result<Self, Fault> {
        let (mut deliveries, mut keys) = (JsonRows::new(), JsonRows::new());
        let mut asked = Vec::new();
        for item in items {
            let jobs = match item {
                Item::Delivery(delivery) => {
                    let d = *delivery;
                    deliveries.push(&(&d.source, &d.delivery_id, &d.event, &d.body_sha256))?;
                    asked.push(d);
                    d.jobs.as_slice()
                }
                Item::Job(job, _) => std::slice::from_ref(*job),
            };
            for key in jobs.iter().filter_map(|job| job.semantic_key.as_ref()) {
                keys.push(key)?;
            }
        }
        let rows = sqlx::query(include_str!("sql/accept_lookup.sql"))
            .bind(deliveries.into_text()?)
            .bind(keys.into_text()?)
            .fetch_all(conn)
            .await?;
        let mut known = Self::default();
        for row in &rows {
            let kind: &str = get(row, "kind")?;
            match kind {
                "newest_job" => known.newest_job = get(row, "id")?,
                "key" => {
                    known.by_key.insert(get(row, "text")?, JobId(get(row, "id")?));
                }
                _ => {
                    let position = usize::try_from(get::<i64>(row, "position")?).unwrap_or(usize::MAX);
                    let d =
                        asked.get(position).ok_or_else(|| Fault::refused("a delivery nobody asked for"))?;
                    let jobs = json("job_ids", get(row, "job_ids")?)?;
                    if kind == "body" {
                        known.by_body.insert((&d.source, &d.event, &d.body_sha256), jobs);
                    } else {
                        let decision: &str = get(row, "decision")?;
                        let decision = Decision::parse(decision)
                            .ok_or_else(|| Fault::refused(format!("decision says {decision:?}")))?;
                        let seen = Seen { body_sha256: get(row, "text")?, decision, jobs };
                        known.by_delivery.insert((&d.source, &d.delivery_id), seen);
                    }
                }
            }
        }
        Ok(known)
    }
}

/// The batch while it is judged, and the rows it makes.
struct Intake<'a> {
    known: Known<'a>,
    first_new: i64,
    deliveries: JsonRows,
    jobs: JsonRows,
    payloads: JsonRows,
}

impl<'a> Intake<'a> {
    fn new(known: Known<'a>) -> Self {
        let first_new = known.newest_job + 1;
        Self {
            known,
            first_new,
            deliveries: JsonRows::new(),
            jobs: JsonRows::new(),
            payloads: JsonRows::new(),
        }
    }

    fn take(&mut self, item: &Item<'a>) -> Result<ItemAnswer, Error> {
        match item {
            Item::Delivery(delivery) => self.take_delivery(delivery).map(ItemAnswer::Delivery),
            Item::Job(job, now) => {
                let (job, fresh) = self.take_job(job, *now)?;
                Ok(ItemAnswer::Job(Enqueued { job, fresh }))
            }
        }
    }

    fn take_delivery(&mut self, delivery: &'a NewDelivery) -> Result<Accepted, Error> {
        let seen = self.known.by_delivery.get(&(delivery.source.as_str(), delivery.delivery_id.as_str()));
        let mut ignored_before = false;
        if let Some(seen) = seen {
            if seen.body_sha256 != delivery.body_sha256 {
                return Ok(Accepted::Conflict);
            }
            if seen.decision != Decision::Ignored {
                return Ok(Accepted::Duplicate { jobs: seen.jobs.clone() });
            }
            ignored_before = true;
        }
        let body = (delivery.source.as_str(), delivery.event.as_str(), delivery.body_sha256.as_str());
        if let Some(jobs) = self.known.by_body.get(&body).cloned() {
            self.keep(delivery, Decision::Duplicate, &jobs)?;
            return Ok(Accepted::Duplicate { jobs });
        }
        if delivery.jobs.is_empty() {
            if !ignored_before {
                self.keep(delivery, Decision::Ignored, &[])?;
            }
            return Ok(Accepted::Ignored);
        }
        let (mut jobs, mut any_fresh) = (Vec::with_capacity(delivery.jobs.len()), false);
        for job in &delivery.jobs {
            let (id, fresh) = self.take_job(job, delivery.received_at)?;
            any_fresh |= fresh;
            jobs.push(id);
        }
        if any_fresh {
            self.keep(delivery, Decision::Enqueued, &jobs)?;
            self.known.by_body.insert(body, jobs.clone());
            Ok(Accepted::Enqueued { jobs })
        } else {
            self.keep(delivery, Decision::Duplicate, &jobs)?;
            Ok(Accepted::Duplicate { jobs })
        }
    }

    /// The job's id, and whether it is new.
    fn take_job(&mut self, job: &NewJob, now: Timestamp) -> Result<(JobId, bool), Error> {
        if let Some(id) = job.semantic_key.as_ref().and_then(|key| self.known.by_key.get(key)) {
            return Ok((*id, false));
        }
        self.known.newest_job += 1;
        let id = JobId(self.known.newest_job);
        if let Some(key) = &job.semantic_key {
            self.known.by_key.insert(key.clone(), id);
        }
        self.jobs.push(&(
            id,
            &job.project,
            &job.work_item,
            &job.stage,
            &job.role,
            job.priority,
            job.available_at <= now,
            job.available_at,
            &job.semantic_key,
            &job.trace_context,
            now,
            job.payload.prompt.is_some(),
        ))?;
        let payload =
            serde_json::to_string(&job.payload).map_err(|error| Error::Corrupt(error.to_string()))?;
        self.payloads.push(&payload)?;
        Ok((id, true))
    }

    fn keep(&mut self, delivery: &'a NewDelivery, decision: Decision, jobs: &[JobId]) -> Result<(), Error> {
        let job_ids = serde_json::to_string(jobs).map_err(|error| Error::Corrupt(error.to_string()))?;
        self.deliveries.push(&(
            &delivery.source,
            &delivery.delivery_id,
            &delivery.event,
            &delivery.body_sha256,
            decision.as_str(),
            job_ids,
            delivery.received_at,
        ))?;
        let seen = Seen { body_sha256: delivery.body_sha256.clone(), decision, jobs: jobs.to_vec() };
        self.known.by_delivery.insert((&delivery.source, &delivery.delivery_id), seen);
        Ok(())
    }

    async fn write(self, conn: &mut SqliteConnection) -> Result<(), Fault> {
        if !self.deliveries.is_empty() {
            sqlx::query(include_str!("sql/accept_deliveries.sql"))
                .bind(self.deliveries.into_text()?)
                .execute(&mut *conn)
                .await?;
        }
        if !self.jobs.is_empty() {
            sqlx::query(include_str!("sql/accept_jobs.sql"))
                .bind(self.jobs.into_text()?)
                .execute(&mut *conn)
                .await?;
            sqlx::query(include_str!("sql/accept_payloads.sql"))
                .bind(self.payloads.into_text()?)
                .bind(self.first_new)
                .execute(&mut *conn)
                .await?;
        }
        Ok(())
    }
}
