//! The store's call behind an acknowledgement, without HTTP: durable deliveries per second from one process.
//!
//! Ours beside the raw driver writing the same rows in a group commit of the same bounds, in turn. What peers call
//! enqueue is measured like this: callers that each wait for their own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use domain::Timestamp;
use domain::delivery::{Accepted, NewDelivery};
use domain::pipeline::Pipeline;
use events::gitea;
use events::plan::{Envelope, plan};
use futures::future::try_join_all;
use serde_json::Value;
use sha2::{Digest, Sha256};
use store::{Access, Store};
use tokio::time::Instant;
use uuid::Uuid;

use crate::limit::sqlite::GroupCommit;
use crate::limit::{Rows, Synchronous};
use crate::load::{Load, ORCH_TOML, push, spawn};
use crate::report::{REPETITIONS, median, pair, quantile_ms, row};

const LENGTH: Duration = Duration::from_millis(1_200);
const WARM_UP: Duration = Duration::from_millis(300);

/// Ours beside the raw driver.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("orch.db").display());
    let store = store::open(&url, Access::Write).await?;
    let limit = GroupCommit::start(&folder.path().join("limit.db"), Synchronous::Full)?;
    let delivery = Arc::new(delivery()?);
    let rows = Arc::new(rows()?);
    for callers in [1, 32] {
        accept(&store, &delivery, callers, WARM_UP).await?;
        write(&limit, &rows, callers, WARM_UP).await?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let (mut p50, mut p99) = (Vec::new(), Vec::new());
        for _ in 0..REPETITIONS {
            theirs.push(write(&limit, &rows, callers, LENGTH).await?.per_second);
            let mut load = accept(&store, &delivery, callers, LENGTH).await?;
            ours.push(load.per_second);
            p50.push(quantile_ms(&mut load.latencies, 0.5));
            p99.push(quantile_ms(&mut load.latencies, 0.99));
        }
        let name = |what: &str| format!("store_call_{what}_c{callers}");
        pair(&name("sqlite_full"), &ours, "calls/s", &name("limit_sqlite_full"), &theirs);
        row(&name("p50"), median(p50), "ms", None);
        row(&name("p99"), median(p99), "ms", None);
    }
    store.close().await;
    postgres(&delivery).await
}

/// The same on PostgreSQL, in turn with `pgbench` on a database of its own.
async fn postgres(delivery: &Arc<NewDelivery>) -> anyhow::Result<()> {
    let server = Arc::new(postgres_server::Server::start(true));
    let (database, bare) = (server.database(), server.database());
    let folder = tempfile::tempdir()?;
    let store = store::open(&database.url(), Access::Write).await?;
    store::open(&bare.url(), Access::Write).await?.close().await;
    let limit = |callers| {
        let written = || crate::limit::postgres::per_second(&bare.url(), folder.path(), &rows()?, callers);
        tokio::task::block_in_place(written)
    };
    for callers in [1, 32] {
        accept(&store, delivery, callers, WARM_UP).await?;
        let (mut ours, mut theirs, mut p99) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..REPETITIONS {
            theirs.push(limit(callers)?);
            let mut load = accept(&store, delivery, callers, LENGTH).await?;
            ours.push(load.per_second);
            p99.push(quantile_ms(&mut load.latencies, 0.99));
        }
        let name = |what: &str| format!("store_call_{what}_c{callers}");
        pair(&name("postgres"), &ours, "calls/s", &name("limit_pgbench"), &theirs);
        row(&name("postgres_p99"), median(p99), "ms", None);
    }
    store.close().await;
    Ok(())
}

/// Callers of the store, each with deliveries of its own, one after the other.
pub(crate) async fn accept(
    store: &Arc<dyn Store>,
    delivery: &Arc<NewDelivery>,
    callers: usize,
    length: Duration,
) -> anyhow::Result<Load> {
    let (store, delivery) = (Arc::clone(store), Arc::clone(delivery));
    load(callers, length, move || {
        let (store, delivery) = (Arc::clone(&store), fresh(&delivery));
        async move {
            let accepted = store.accept(delivery).await?;
            ensure!(matches!(accepted, Accepted::Enqueued { .. }), "not enqueued: {accepted:?}");
            Ok(())
        }
    })
    .await
}

async fn write(
    limit: &GroupCommit,
    rows: &Arc<Rows>,
    callers: usize,
    length: Duration,
) -> anyhow::Result<Load> {
    let (limit, rows) = (limit.clone(), Arc::clone(rows));
    load(callers, length, move || {
        let (limit, id) = (limit.clone(), Uuid::new_v4());
        let rows = Rows {
            delivery_id: id.to_string(),
            body_sha256: format!("{0}{0}", id.simple()),
            work_item: rows.work_item.clone(),
            head: head(id),
            payload: rows.payload.clone(),
        };
        async move { limit.write(rows).await.map(|_| ()).context("the limit's group commit ended") }
    })
    .await
}

/// A closed loop of callers.
async fn load<C, F>(callers: usize, length: Duration, call: C) -> anyhow::Result<Load>
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let begun = Instant::now();
    let until = begun + length;
    let tasks = (0..callers).map(|_| {
        let call = call.clone();
        spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < until {
                let called = call();
                let asked = Instant::now();
                called.await?;
                latencies.push(asked.elapsed());
            }
            anyhow::Ok(latencies)
        })
    });
    let mut latencies = Vec::new();
    for caller in try_join_all(tasks).await? {
        latencies.extend(caller?);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let per_second = latencies.len() as f64 / begun.elapsed().as_secs_f64();
    Ok(Load { per_second, latencies })
}

/// What ingest makes of a push.
pub(crate) fn delivery() -> anyhow::Result<NewDelivery> {
    let pipeline: Pipeline =
        domain::pipeline::parse(ORCH_TOML).map_err(|error| anyhow::anyhow!("{error}"))?;
    let body = push().body;
    let Value::Object(object) = serde_json::from_slice(&body)? else { anyhow::bail!("a push is an object") };
    let observed = gitea::observe("push", &object).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    let envelope = Envelope {
        source: "gitea",
        delivery_id: Uuid::new_v4().to_string(),
        event: "push".to_owned(),
        body_sha256: hex::encode(Sha256::digest(&body)),
        received_at: Timestamp::from_ms(1_800_000_000_000),
        trace_context: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    };
    let payload = observed.account.payload(object, body.len());
    let delivery = plan(&pipeline, envelope, &observed, payload);
    delivery.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))
}

/// The same delivery of another commit.
fn fresh(delivery: &NewDelivery) -> NewDelivery {
    let id = Uuid::new_v4();
    let mut delivery = delivery.clone();
    delivery.delivery_id = id.to_string();
    delivery.body_sha256 = format!("{0}{0}", id.simple());
    for job in &mut delivery.jobs {
        job.semantic_key = Some(format!("shop:push:{id}:review"));
        job.origin.delivery = Some(format!("gitea:{id}"));
        job.origin.head = Some(head(id));
    }
    delivery
}

fn head(id: Uuid) -> String {
    format!("{}0a1b2c3d", id.simple())
}

fn rows() -> anyhow::Result<Rows> {
    let webhook = push();
    Rows::of("first", str::from_utf8(&webhook.body)?).context("a push has rows")
}
