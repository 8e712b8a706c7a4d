//! Deliveries and jobs in: looks up what a batch repeats and inserts what [`crate::intake`] says is new.

use std::collections::BTreeMap;

use domain::sighting::Teller;
use domain::{JobId, Timestamp};

use super::argument::{Rows, cells};
use super::connection::{Connection, fetch_together, query, statement};
use super::fault::Fault;
use super::rows::{JsonRows, get, json, text_of};
use super::{apply, items, outbox, outside};
use crate::intake::{Decision, Intake, Item, ItemAnswer, Known, Seen, keys_of, sightings_of};

/// Commits nothing itself; answers in the order of `items`.
pub(super) async fn accept(conn: &mut Connection<'_>, items: &[Item<'_>]) -> Result<Vec<ItemAnswer>, Fault> {
    let known = look_up(conn, items).await?;
    let mut intake = Intake::new(known);
    let answers = items.iter().map(|item| intake.take(item)).collect();
    write(&mut *conn, intake).await?;
    hear_sources(conn, items).await?;
    Ok(answers)
}

/// Notes when each source was last heard, whatever became of what it delivered.
async fn hear_sources(conn: &mut Connection<'_>, items: &[Item<'_>]) -> Result<(), Fault> {
    let mut heard: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for item in items {
        if let Item::Delivery(delivery) = item
            && delivery.teller() == Teller::Webhook
        {
            let last_at = heard.entry(&delivery.source).or_default();
            *last_at = delivery.received_at.max(*last_at);
        }
    }
    if heard.is_empty() {
        return Ok(());
    }
    let mut rows = JsonRows::new();
    for source in &heard {
        rows.push(&source)?;
    }
    query!("accept_sources").bind(rows.into_text()?).execute_later(conn).await?;
    Ok(())
}

async fn look_up<'a>(conn: &mut Connection<'_>, items: &[Item<'a>]) -> Result<Known<'a>, Fault> {
    let (mut deliveries, mut keys) = (JsonRows::new(), JsonRows::new());
    let mut asked = Vec::new();
    for item in items {
        if let Item::Delivery(delivery) = *item {
            let d = delivery;
            deliveries.push(&(&d.source, &d.delivery_id, &d.event, &d.body_sha256))?;
            asked.push(d);
        }
        for key in item.jobs().iter().flat_map(keys_of) {
            keys.push(&key)?;
        }
    }
    let repeats = query!("accept_lookup").bind(deliveries.into_text()?).bind(keys.into_text()?);
    let queries = [Some(repeats), items::lookup(items)?, outside::lookup(sightings_of(items))?];
    let [rows, found, sightings] = fetch_together(queries, conn).await?;
    let mut known = items::take_found(conn, items, &found).await?;
    known.sightings = outside::found(&sightings)?;
    for row in &rows {
        let kind: &str = get(row, "kind")?;
        match kind {
            "newest_job" => known.newest_job = get(row, "id")?,
            "key" => {
                known.by_key.insert(get(row, "text")?, JobId(get(row, "id")?));
            }
            // Of a forgotten job: one that is there has the last word.
            "spent" => {
                known.by_key.entry(get(row, "text")?).or_insert(JobId(get(row, "id")?));
            }
            _ => {
                let position = usize::try_from(get::<i64>(row, "position")?).unwrap_or(usize::MAX);
                let d = asked.get(position).ok_or_else(|| Fault::refused("a delivery nobody asked for"))?;
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

async fn write(conn: &mut Connection<'_>, intake: Intake<'_>) -> Result<(), Fault> {
    let (mut deliveries, mut jobs, mut payloads) = (Rows::new(), Rows::new(), Rows::new());
    for kept in &intake.deliveries {
        let d = kept.delivery;
        deliveries.push(cells![
            &d.source,
            &d.delivery_id,
            &d.event,
            &d.body_sha256,
            kept.decision.as_str(),
            text_of(&kept.jobs)?,
            d.received_at,
        ]);
    }
    for kept in &intake.jobs {
        let job = &kept.job;
        let origin = &kept.origin;
        jobs.push(cells![
            kept.id,
            &job.project,
            &job.work_item,
            &job.stage,
            &job.role,
            job.priority,
            kept.is_due(),
            job.available_at,
            &kept.semantic_key,
            &job.trace_context,
            kept.created_at,
            job.payload.brings_prompt(),
            origin.kind.as_str(),
            origin.parent,
            &origin.delivery,
            origin.hops,
            &origin.head,
            origin.replaces,
            &origin.chain,
            job.budgets.attempts,
            job.budgets.transient_attempts,
            job.budgets.infra_attempts,
        ]);
        payloads.push(cells![kept.id, text_of(&job.payload)?]);
    }
    statement!("accept_deliveries").execute_each_later(deliveries, conn).await?;
    statement!("accept_jobs").execute_each_later(jobs, conn).await?;
    statement!("accept_payloads").execute_each_later(payloads, conn).await?;
    let mut joined = JsonRows::new();
    for further in &intake.joined {
        joined.push(&further)?;
    }
    if !joined.is_empty() {
        query!("accept_joined").bind(joined.into_text()?).execute_later(&mut *conn).await?;
    }
    items::save(conn, intake.items.values()).await?;
    items::save_aliases(conn, &intake.aliases).await?;
    outside::save(conn, intake.sightings.values()).await?;
    outbox::push(conn, &intake.notices).await?;
    let moved = apply::write_jobs(conn, intake.replaced.iter()).await?;
    if moved.len() == intake.replaced.len() {
        return Ok(());
    }
    Err(Fault::refused("a queued job moved inside the transaction that replaces it"))
}
