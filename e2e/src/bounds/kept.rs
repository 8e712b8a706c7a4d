//! What the scheduler kept of a flood: every byte where it belongs, and what is not there declared to the byte.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::flood::{BLOCK_BYTES, Block};

/// The quota of a spool: its first 16 MiB,
const HEAD_BYTES: u64 = 16 << 20;
/// and at least its last 48 MiB,
const TAIL_BYTES: u64 = 48 << 20;
/// which are dropped in pieces of 1 MiB: one is still being written, one more may stand until it is full.
const PIECE_BYTES: u64 = 1 << 20;

/// What was kept of one log.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: u64,
    gap: Option<(u64, u64)>,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, gap } = self;
        match gap {
            None => write!(f, "its log of {bytes} bytes was kept whole and exact"),
            Some((from, to)) => write!(
                f,
                "its log of {bytes} bytes: the first {from} and the last {} exact, a gap of {} declared",
                bytes - to,
                to - from
            ),
        }
    }
}

/// Compares the log of `run` in `folder` with the flood of `flood_bytes` that was printed.
pub(super) fn check(folder: &Path, run: &str, flood_bytes: u64) -> anyhow::Result<Kept> {
    let file = File::open(folder.join(format!("{run}.log"))).with_context(|| format!("the log of {run}"))?;
    let bytes = file.metadata()?.len();
    let mut first = Vec::new();
    BufReader::new(&file).read_until(b'\n', &mut first)?;
    let begin = first.len() as u64;
    let end = begin + flood_bytes;
    ensure!(first.starts_with(b"{") && bytes > end, "run {run}: {bytes} bytes of {end} and a result");

    let gaps = gaps(&folder.join(format!("{run}.gaps")))?;
    let gap = match gaps.as_slice() {
        [] => None,
        [gap] => Some(*gap),
        more => anyhow::bail!("run {run}: {} gaps, though nobody read in between: {more:?}", more.len()),
    };
    let whole = HEAD_BYTES + TAIL_BYTES;
    ensure!(gap.is_some() || bytes <= whole + 2 * PIECE_BYTES, "run {run}: {bytes} bytes and no gap");
    if let Some((from, to)) = gap {
        ensure!(bytes > whole && from == HEAD_BYTES, "run {run}: gap {from}..{to} of {bytes}");
        let tail = TAIL_BYTES..=TAIL_BYTES + 2 * PIECE_BYTES;
        ensure!(tail.contains(&(bytes - to)), "run {run}: a tail of {}, gap {from}..{to}", bytes - to);
    }
    let (head_end, tail_begin) = gap.unwrap_or((end, end));
    for (from, to) in [(begin, head_end.min(end)), (tail_begin, end)] {
        compare(&file, begin, from, to).with_context(|| format!("run {run}"))?;
    }
    let mut last = vec![0; usize::try_from(bytes - end)?];
    file.read_exact_at(&mut last, end)?;
    ensure!(last.starts_with(b"{") && last.ends_with(b"}\n"), "run {run}: the result is not whole");
    Ok(Kept { bytes, gap })
}

/// Compares the bytes from `from` to `to` with a flood that begins at `begin`.
fn compare(file: &File, begin: u64, from: u64, to: u64) -> anyhow::Result<()> {
    let (mut block, mut buffer) = (Block::new(), vec![0; BLOCK_BYTES]);
    let mut at = from;
    while at < to {
        let length = buffer.len().min(usize::try_from(to - at)?);
        file.read_exact_at(&mut buffer[..length], at)?;
        ensure!(block.holds(at - begin, &buffer[..length]), "other bytes at {at}");
        at += length as u64;
    }
    Ok(())
}

fn gaps(path: &Path) -> anyhow::Result<Vec<(u64, u64)>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path)?;
    let gap = |line: &str| {
        let (from, to) = line.split_once(' ').context("no gap")?;
        Ok((from.parse()?, to.parse()?))
    };
    text.lines().map(gap).collect()
}
