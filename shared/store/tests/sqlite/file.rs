//! The file: made, migrated, recognised, refused.

use sqlx::Connection as _;
use store::{Access, Error, Schema};

use super::contract::values::{T0, job, one_running, read};
use super::{fresh, open, raw, url};

#[tokio::test]
async fn a_closed_store_is_found_again_as_it_was() {
    let (folder, store) = fresh().await;
    let start = one_running(&store).await;
    store.close().await;
    assert!(matches!(store.enqueue(job("A"), T0).await, Err(Error::Closed)));
    assert!(matches!(store.job(start.job.id).await, Err(Error::Closed)));
    let store = open(&folder).await;
    assert_eq!(read(&store, start.job.id).await, start.job);
    assert_eq!(store.violations().await.unwrap(), vec![]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_open_an_empty_folder_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder);
    let opening = (0..8).map(|_| {
        tokio::task::spawn_blocking({
            let url = url.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let store = store::open(&url, Access::Write).await.unwrap();
                    let kept = store.enqueue(job("A"), T0).await.unwrap();
                    store.close().await;
                    kept.job.0
                })
            }
        })
    });
    let mut ids: Vec<i64> =
        futures::future::join_all(opening).await.into_iter().map(Result::unwrap).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn a_reader_may_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let reader = store::open(&url(&folder), Access::Read).await.unwrap();
    for result in [reader.schema().await.map(|_| ()), reader.overview(T0).await.map(|_| ())] {
        let Err(Error::Unavailable(why)) = result else { panic!("{result:?}") };
        assert!(why.to_string().contains("there is no database at"), "{why}");
    }
    assert!(!raw::path(&folder).exists());

    let store = open(&folder).await;
    store.enqueue(job("A"), T0).await.unwrap();
    assert_eq!(reader.overview(T0).await.unwrap().counts.queued, 1);
    assert!(matches!(reader.enqueue(job("B"), T0).await, Err(Error::Setup(_))));
    store.close().await;
    reader.close().await;
}

#[tokio::test]
async fn an_older_schema_is_reported_to_readers_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("data")).unwrap();
    raw::connect(&raw::path(&folder)).await.close().await.unwrap();
    let reader = store::open(&url(&folder), Access::Read).await.unwrap();
    assert_eq!(reader.schema().await.unwrap().found, 0);
    assert!(matches!(reader.nodes().await, Err(Error::Older { found: 0, .. })));
    open(&folder).await.close().await;
    let Schema { found, needed } = reader.schema().await.unwrap();
    assert_eq!(found, needed);
    assert_eq!(reader.nodes().await.unwrap(), vec![]);
    reader.close().await;
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_alone() {
    let (folder, store) = fresh().await;
    let known = store.schema().await.unwrap().needed;
    store.close().await;
    let mut conn = raw::connect(&raw::path(&folder)).await;
    raw::execute(&mut conn, "UPDATE meta SET schema = 99").await.unwrap();
    let refused = store::open(&url(&folder), Access::Write).await.unwrap_err();
    assert!(matches!(refused, Error::Newer { found: 99, known: k } if k == known), "{refused:?}");
    let reader = store::open(&url(&folder), Access::Read).await.unwrap();
    assert_eq!(reader.schema().await.unwrap(), Schema { found: 99, needed: known });
    assert!(matches!(reader.overview(T0).await, Err(Error::Newer { found: 99, .. })));
    reader.close().await;
    conn.close().await.unwrap();
}

#[tokio::test]
async fn another_programs_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("data")).unwrap();
    let mut conn = raw::connect(&raw::path(&folder)).await;
    raw::execute(&mut conn, "CREATE TABLE recipes (name TEXT)").await.unwrap();
    let refused = store::open(&url(&folder), Access::Write).await.unwrap_err();
    assert!(refused.to_string().contains("belongs to another program"), "{refused}");
    assert_eq!(raw::number(&mut conn, "SELECT count(*) FROM sqlite_schema").await, 1);
    conn.close().await.unwrap();

    std::fs::write(raw::path(&folder), "no database at all, only text that is long enough").unwrap();
    let refused = store::open(&url(&folder), Access::Write).await.unwrap_err();
    assert!(matches!(refused, Error::Corrupt(_)), "{refused:?}");
}
