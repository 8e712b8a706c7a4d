//! The backlog, counted, and who is told of commits.

use async_trait::async_trait;
use domain::Timestamp;

use super::SqlStore;
use super::connection::{Row, query};
use super::rows::get;
use crate::Error;
use crate::gauges::{Backlog, CommitObserver, Gauges};

#[async_trait]
impl Gauges for SqlStore {
    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Error> {
        self.check_schema().await?;
        let mut snapshot = self.database.snapshot().await?;
        let mut conn = snapshot.connection();
        let counted = query!("backlog").fetch_all(&mut conn).await?;
        let oldest: Option<i64> =
            query!("oldest_ready_at").bind(now.as_ms()).fetch_one(&mut conn).await?.try_get(0)?;
        snapshot.finish().await?;
        let count = |row: &Row| {
            let jobs: i64 = get(row, "jobs")?;
            Ok((get(row, "reason")?, u64::try_from(jobs).unwrap_or(0)))
        };
        let by_reason = counted.iter().map(count).collect::<Result<_, Error>>()?;
        Ok(Backlog { by_reason, oldest_ready_at: oldest.map(Timestamp::from_ms) })
    }

    async fn fold_counts(&self) -> Result<(), Error> {
        self.check_schema().await?;
        self.database.fold_counts().await
    }

    fn observe_commits(&self, observer: CommitObserver) {
        self.observed.by(observer);
    }
}
