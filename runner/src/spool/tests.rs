use domain::log::LogPiece;

use super::*;

/// Reads everything from `offset`; a gap shows as its two ends.
fn all(dir: &Path, mut offset: u64) -> (Vec<u8>, Vec<(u64, u64)>) {
    let (mut spool, mut bytes, mut gaps) = (Spool::new(dir.to_owned()), Vec::new(), Vec::new());
    while let Some(piece) = spool.read(offset).unwrap() {
        offset = piece.end();
        match piece {
            LogPiece::Bytes { bytes: more, .. } => bytes.extend(more),
            LogPiece::Gap { from, to } => gaps.push((from, to)),
        }
    }
    (bytes, gaps)
}

fn pattern(from: u64, to: u64) -> Vec<u8> {
    (from..to).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn what_fits_is_read_back_from_any_offset() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path().to_owned(), 100, 1600);
    for start in (0..1000).step_by(10) {
        writer.append(&pattern(start, start + 10));
    }
    for offset in [0, 1, 99, 100, 101, 555, 999] {
        assert_eq!(all(dir.path(), offset), (pattern(offset, 1000), vec![]), "from {offset}");
    }
    assert_eq!((all(dir.path(), 1000).0.len(), writer.offset(), end(dir.path()).unwrap()), (0, 1000, 1000));
}

#[test]
fn beyond_the_quota_head_and_tail_are_exact_and_the_gap_is_declared() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path().to_owned(), 100, 1600);
    writer.append(&pattern(0, 10_000));
    // The tail is kept in sixteenths: the oldest is dropped once the others hold 1600 bytes.
    assert_eq!(all(dir.path(), 0), ([pattern(0, 100), pattern(8300, 10_000)].concat(), vec![(100, 8300)]));
    assert_eq!(all(dir.path(), 5000), (pattern(8300, 10_000), vec![(5000, 8300)]));
    let kept: u64 =
        std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(kept, 1800);
}

#[test]
fn bytes_that_cannot_be_written_become_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let mut writer = Writer::new(spool.clone(), 100, 1600);
    writer.append(&pattern(0, 50));
    std::fs::create_dir(&spool).unwrap();
    writer.append(&pattern(50, 80));
    assert_eq!(all(&spool, 0), (pattern(50, 80), vec![(0, 50)]));
    assert_eq!(writer.offset(), 80);
}
