//! The database as the console sees it: opened for reading when it is there and its schema fits, looked for again when
//! it is not.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use service::health::Readiness;
use service::settings::DatabaseUrl;
use store::{Access, Store};
use tokio_util::sync::CancellationToken;

/// The name of the readiness condition.
pub(crate) const CONDITION: &str = "database";

/// How often the database is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The store, while there is one. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    url: DatabaseUrl,
    readiness: Readiness,
    open: Arc<RwLock<Result<Arc<dyn Store>, String>>>,
}

impl Database {
    /// Not opened yet.
    pub(crate) fn new(url: DatabaseUrl, readiness: Readiness) -> Self {
        Self {
            url,
            readiness,
            open: Arc::new(RwLock::new(Err("the database was not looked at yet".to_owned()))),
        }
    }

    /// The store, or why there is none.
    pub(crate) fn store(&self) -> Result<Arc<dyn Store>, String> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the database, watches its schema, and opens it again when it was lost, until `stop`.
    pub(crate) async fn keep_open(self, stop: CancellationToken) {
        loop {
            let now = self.look().await;
            self.readiness.set(CONDITION, now.as_ref().map(|_| ()).map_err(Clone::clone));
            *self.open.write().unwrap_or_else(PoisonError::into_inner) = now;
            if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                break;
            }
        }
        if let Ok(store) = self.store() {
            store.close().await;
        }
    }

    async fn look(&self) -> Result<Arc<dyn Store>, String> {
        let store = match self.store() {
            Ok(store) => store,
            Err(_) => {
                store::open(self.url.expose(), Access::Read).await.map_err(|error| self.explain(&error))?
            }
        };
        let schema = match store.schema().await {
            Ok(schema) if schema.found == schema.needed => return Ok(store),
            Ok(schema) if schema.found > schema.needed => {
                store::Error::Newer { found: schema.found, known: schema.needed }
            }
            Ok(schema) => store::Error::Older { found: schema.found, needed: schema.needed },
            Err(error) => error,
        };
        store.close().await;
        Err(self.explain(&schema))
    }

    fn explain(&self, error: &store::Error) -> String {
        let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        let whole: Vec<_> =
            std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect();
        format!("{}: {}", self.url, whole.join(": "))
    }
}
