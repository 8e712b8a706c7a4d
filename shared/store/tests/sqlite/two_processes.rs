//! Two processes on one file: nobody starves, nothing fails, nothing is lost.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use domain::Class;
use store::{Access, Applied, Store};

use super::contract::values::{T0, claim, ended, fleet, happen, job, later};
use super::{fresh, url};

const ROUNDS: usize = 60;
const TOGETHER: usize = 16;
/// Holds the database's url in the process that this test starts of itself.
const OTHER_PROCESS: &str = "ORCH_TEST_OTHER_PROCESS";

/// Ingest's part: groups of jobs in a tight loop.
async fn write_rounds(store: &Arc<dyn Store>) {
    for round in 0..ROUNDS {
        let jobs = (0..TOGETHER).map(|n| store.enqueue(job(&format!("{round}-{n}")), T0));
        for kept in futures::future::join_all(jobs).await {
            kept.unwrap();
        }
    }
}

/// A process that does not outlive the test, however that ends.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        // It may be over already.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_make_progress_without_an_error() {
    if let Some(url) = std::env::var_os(OTHER_PROCESS) {
        let store = store::open(url.to_str().unwrap(), Access::Write).await.unwrap();
        write_rounds(&store).await;
        return store.close().await;
    }
    let (folder, store) = fresh().await;
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["two_processes::both_make_progress_without_an_error", "--exact"])
        .env(OTHER_PROCESS, url(&folder))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut other = Other(child);

    // The scheduler's part, as tight: claim and finish until everything the other wrote is done.
    let (mut done, mut while_both) = (0, 0);
    let mut status = None;
    while status.is_none() || done < ROUNDS * TOGETHER {
        let starts = claim(&store, later(10), fleet(64), 16).await.starts;
        let ends = starts.iter().map(|start| async {
            let over = ended(start.run.id, Class::Success);
            happen(&store, start.job.id, &over, later(20)).await
        });
        for applied in futures::future::join_all(ends).await {
            assert_eq!(applied, Applied::Done);
            done += 1;
            while_both += usize::from(status.is_none());
        }
        if status.is_none() {
            status = other.0.try_wait().unwrap();
        }
        assert!(status.is_none_or(|status| status.success()), "the other process failed");
        if starts.is_empty() && status.is_some() && done < ROUNDS * TOGETHER {
            let left = store.overview(T0).await.unwrap().counts.queued;
            assert!(left > 0, "{done} of {} were there", ROUNDS * TOGETHER);
        }
    }
    assert_eq!(done, ROUNDS * TOGETHER);
    assert!(
        while_both >= ROUNDS * TOGETHER / 10,
        "only {while_both} jobs were finished beside the other process"
    );
    let counts = store.overview(T0).await.unwrap().counts;
    assert_eq!((counts.done, counts.queued), ((ROUNDS * TOGETHER) as u64, 0));
    assert_eq!(store.violations().await.unwrap(), vec![]);
    store.close().await;
}
