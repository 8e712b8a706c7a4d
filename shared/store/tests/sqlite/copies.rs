//! Copies of a database in use, and a copy in its place: nothing half, nothing overwritten, no generation twice.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use domain::Timestamp;
use store::{Access, Error, JobFilter, Store, backup, restore};
use tempfile::TempDir;

use super::contract::values::{T0, job, later};
use super::{fresh, open, url};

async fn fill(store: &Arc<dyn Store>, prefix: &str, count: usize) {
    let jobs = (0..count).map(|n| store.enqueue(job(&format!("{prefix}-{n}")), T0));
    for kept in futures::future::join_all(jobs).await {
        kept.unwrap();
    }
}

async fn jobs(store: &Arc<dyn Store>) -> usize {
    store.jobs(JobFilter::newest(10_000)).await.unwrap().len()
}

async fn generation(store: &Arc<dyn Store>) -> i64 {
    store.generation().await.unwrap().current
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("data/orch.db")
}

/// A closed database with that many jobs, and a copy of it.
async fn with_copy(count: usize) -> (TempDir, PathBuf) {
    let (folder, store) = fresh().await;
    fill(&store, "before", count).await;
    let copy = folder.path().join("copy.db");
    backup(&url(&folder), &copy).await.unwrap();
    store.close().await;
    (folder, copy)
}

fn left_beside(folder: &TempDir) -> Vec<String> {
    let names = fs::read_dir(folder.path().join("data")).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.contains("before-") || name.contains("restoring") || name.contains("part"));
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_whole_though_others_write() {
    let (folder, store) = fresh().await;
    fill(&store, "before", 40).await;
    let copy = folder.path().join("copy.db");
    let (filled, copied) =
        futures::future::join(fill(&store, "during", 400), async { backup(&url(&folder), &copy).await })
            .await;
    let () = filled;
    let copied = copied.unwrap();
    assert!((40..=440).contains(&copied.jobs), "{copied:?}");
    assert_eq!(copied.generation, generation(&store).await);
    assert_eq!(copied.bytes, copy.metadata().unwrap().len());
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let read = store::open(&format!("sqlite://{}", copy.display()), Access::Read).await.unwrap();
    assert_eq!(read.violations().await.unwrap(), []);
    assert_eq!(jobs(&read).await as u64, copied.jobs);
    read.close().await;
    assert_eq!(jobs(&store).await, 440, "the database itself is as it was");
    store.close().await;
}

#[tokio::test]
async fn what_cannot_be_copied_is_said_and_leaves_nothing() {
    let (folder, store) = fresh().await;
    let copy = folder.path().join("copy.db");
    fs::write(&copy, "mine").unwrap();
    let refused = backup(&url(&folder), &copy).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("{} is there already: name a new file", copy.display()));
    assert_eq!(fs::read(&copy).unwrap(), b"mine");
    let missing = backup("sqlite:///nowhere/orch.db", &folder.path().join("other")).await.unwrap_err();
    assert_eq!(missing.to_string(), "there is no database at /nowhere/orch.db");
    let elsewhere = folder.path().join("no/such/folder/copy.db");
    assert!(matches!(backup(&url(&folder), &elsewhere).await, Err(Error::Unavailable(_))));
    let foreign = backup(&format!("sqlite://{}", copy.display()), &folder.path().join("third")).await;
    assert!(matches!(foreign, Err(Error::Corrupt(_) | Error::Setup(_))), "{foreign:?}");
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["copy.db", "data"]);
    store.close().await;
}

#[tokio::test]
async fn a_copy_takes_the_place_and_what_was_there_is_kept() {
    let (folder, copy) = with_copy(3).await;
    let store = open(&folder).await;
    fill(&store, "after", 2).await;
    let before = generation(&store).await;
    store.close().await;
    let restored = restore(&copy, &url(&folder), T0).await.unwrap();
    assert_eq!((restored.backup.jobs, restored.backup.generation), (3, before));
    let store = open(&folder).await;
    assert_eq!((jobs(&store).await, generation(&store).await), (3, restored.generation));
    assert!(restored.generation > before);
    assert_eq!(store.violations().await.unwrap(), []);
    store.close().await;
    let kept = restored.kept.unwrap();
    let old = store::open(&format!("sqlite://{}", kept.display()), Access::Read).await.unwrap();
    assert_eq!((jobs(&old).await, generation(&old).await), (5, before));
    old.close().await;
    assert_eq!(left_beside(&folder), [kept.file_name().unwrap().to_str().unwrap()]);
}

#[tokio::test]
async fn no_generation_is_given_twice() {
    let (folder, copy) = with_copy(1).await;
    let mut given = Vec::new();
    for round in 0..3 {
        given.push(restore(&copy, &url(&folder), T0).await.unwrap().generation);
        // Then the disk is lost, and with it the generation that was given.
        if round == 1 {
            fs::remove_file(file(&folder)).unwrap();
            given.push(restore(&copy, &url(&folder), later(2_000)).await.unwrap().generation);
        }
    }
    let mut sorted = given.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted, given, "each is new, and none is older than one before");
}

#[tokio::test]
async fn a_database_in_use_is_left_alone() {
    let (folder, copy) = with_copy(1).await;
    for access in [Access::Write, Access::Read] {
        let store = store::open(&url(&folder), access).await.unwrap();
        let before = generation(&store).await;
        let refused = restore(&copy, &url(&folder), T0).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "{} is in use: stop ingest, the scheduler and the console first",
                file(&folder).display()
            )
        );
        assert_eq!(generation(&store).await, before);
        store.close().await;
    }
    assert_eq!(left_beside(&folder), [""; 0]);
    let store = open(&folder).await;
    fill(&store, "still", 1).await;
    store.close().await;
}

#[tokio::test]
async fn a_broken_copy_changes_nothing_and_a_broken_database_is_replaced() {
    let (folder, copy) = with_copy(200).await;
    let broken = folder.path().join("broken.db");
    let mut bytes = fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    fs::write(&broken, bytes).unwrap();
    let refused = restore(&broken, &url(&folder), T0).await;
    assert!(matches!(refused, Err(Error::Corrupt(_) | Error::Unavailable(_))), "{refused:?}");
    let store = open(&folder).await;
    assert_eq!(jobs(&store).await, 200);
    store.close().await;
    assert_eq!(left_beside(&folder), [""; 0]);

    fs::write(file(&folder), "no database any more").unwrap();
    let restored = restore(&copy, &url(&folder), T0).await.unwrap();
    assert_eq!(fs::read(restored.kept.unwrap()).unwrap(), b"no database any more");
    let store = open(&folder).await;
    assert_eq!(jobs(&store).await, 200);
    store.close().await;
}

#[tokio::test]
async fn where_there_was_nothing_a_copy_is_a_beginning() {
    let (_folder, copy) = with_copy(2).await;
    let other = tempfile::tempdir().unwrap();
    let restored = restore(&copy, &url(&other), Timestamp::from_ms(0)).await.unwrap();
    assert_eq!(restored.kept, None);
    let store = open(&other).await;
    assert_eq!(jobs(&store).await, 2);
    store.close().await;
}
