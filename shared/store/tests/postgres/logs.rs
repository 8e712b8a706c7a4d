//! The logs of runs in the database.

use domain::log::LogPiece;

use super::contract::values::{fresh_run, one_running};
use super::fresh;

fn bytes(offset: u64, text: &str) -> LogPiece {
    LogPiece::Bytes { offset, bytes: text.as_bytes().to_vec() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_read_as_it_was_written_from_any_offset() {
    let (_database, store) = fresh().await;
    let run = one_running(&store).await.run.id;
    let logs = store.run_logs().unwrap();
    assert_eq!((logs.log_end(run).await.unwrap(), logs.read_log(run, 0).await.unwrap()), (0, None));
    for piece in [bytes(0, "he\0ad"), LogPiece::Gap { from: 5, to: 1_000 }, bytes(1_000, "tail")] {
        assert!(logs.append_log(run, piece).await.unwrap());
    }
    assert_eq!(logs.log_end(run).await.unwrap(), 1_004);
    for (offset, piece) in [
        (0, Some(bytes(0, "he\0ad"))),
        (3, Some(bytes(3, "ad"))),
        (5, Some(LogPiece::Gap { from: 5, to: 1_000 })),
        (999, Some(LogPiece::Gap { from: 999, to: 1_000 })),
        (1_001, Some(bytes(1_001, "ail"))),
        (1_004, None),
        (9_000, None),
    ] {
        assert_eq!(logs.read_log(run, offset).await.unwrap(), piece, "{offset}");
    }
    assert_eq!(logs.log_end(fresh_run()).await.unwrap(), 0);
    store.close().await;
}

/// Two schedulers watch one run: each piece is written where the log ends or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_never_mix() {
    let (database, store) = fresh().await;
    let other = super::open(&database).await;
    let run = one_running(&store).await.run.id;
    let writer = async |store: &std::sync::Arc<dyn store::Store>, text: &str| {
        let logs = store.run_logs().unwrap();
        for _ in 0..50 {
            let end = logs.log_end(run).await.unwrap();
            let _ = logs.append_log(run, bytes(end, text)).await.unwrap();
        }
    };
    tokio::join!(writer(&store, "aaa"), writer(&other, "bbbbbbb"));
    let logs = store.run_logs().unwrap();
    let (mut offset, mut pieces) = (0, 0);
    while let Some(piece) = logs.read_log(run, offset).await.unwrap() {
        let LogPiece::Bytes { bytes, .. } = &piece else { panic!("a gap that nobody declared") };
        assert!(bytes == b"aaa" || bytes == b"bbbbbbb", "{bytes:?}");
        (offset, pieces) = (piece.end(), pieces + 1);
    }
    assert_eq!(offset, logs.log_end(run).await.unwrap());
    assert!(pieces >= 50, "{pieces}");
    assert!(!logs.append_log(run, bytes(0, "again")).await.unwrap());
    other.close().await;
    store.close().await;
}

/// What comes for many logs at once is committed together, and one that is refused fails nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_that_come_together_are_answered_each_for_itself() {
    let (_database, store) = fresh().await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(one_running(&store).await.run.id);
    }
    let logs = store.run_logs().unwrap();
    // Nobody made this one.
    let refused = fresh_run();
    let writers = runs.iter().chain([&refused]).map(async |run| {
        let mut answers = Vec::new();
        for line in 0..20 {
            answers.push(logs.append_log(*run, bytes(line * 5, "line\n")).await.ok());
            // It does not begin where the log ends.
            answers.push(logs.append_log(*run, bytes(line * 5 + 7, "hole")).await.ok());
        }
        answers
    });
    let mut answers = futures::future::join_all(writers).await;
    let of_refused = answers.pop().unwrap();
    assert_eq!((of_refused[0], &of_refused[1..]), (None, &[Some(false); 39][..]));
    for (run, answers) in runs.into_iter().zip(answers) {
        assert_eq!(answers, [Some(true), Some(false)].repeat(20));
        assert_eq!(logs.log_end(run).await.unwrap(), 100);
    }
    store.close().await;
}
