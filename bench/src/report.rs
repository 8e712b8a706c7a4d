//! The table: rows as they are measured, each beside its limit, and at the end a plot of them.
//!
//! Everything a measurement prints goes through here, so that the table on standard output, the copy in
//! `target/bench/NAME.tsv` and the plot in `target/bench/NAME.svg` say the same.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

use crate::plot::{self, Series};

/// How often each side of a comparison is measured: in turn with the other, so that a busy moment hits both.
pub(crate) const REPETITIONS: usize = 5;

const HEAD: &str = "metric\tvalue\tunit\tratio_to_limit";

static TABLE: Mutex<Vec<Row>> = Mutex::new(Vec::new());

/// A line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) metric: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    pub(crate) ratio: Option<f64>,
}

/// Prints the head of the table; once per process.
pub(crate) fn head() {
    println!("{HEAD}");
}

/// Prints a figure; `limit` is the same figure of the thing that bounds it, from the same run.
pub(crate) fn row(metric: &str, value: f64, unit: &str, limit: Option<f64>) {
    print(metric, value, unit, limit.map(|limit| value / limit));
}

/// Prints the medians of a limit and of ours, and the median of their ratios repetition by repetition, which a load
/// that comes and goes moves least. Both must have been measured in turn.
pub(crate) fn pair(metric: &str, ours: &[f64], unit: &str, limit_metric: &str, limit: &[f64]) {
    print(limit_metric, median(limit.to_vec()), unit, None);
    beside(metric, ours, unit, limit);
}

/// Prints the median of ours beside a limit that has its row already; see [`pair`].
pub(crate) fn beside(metric: &str, ours: &[f64], unit: &str, limit: &[f64]) {
    let ratios = ours.iter().zip(limit).map(|(ours, limit)| ours / limit).collect();
    print(metric, median(ours.to_vec()), unit, Some(median(ratios)));
}

fn print(metric: &str, value: f64, unit: &str, ratio: Option<f64>) {
    let row = Row { metric: metric.to_owned(), value, unit: unit.to_owned(), ratio };
    println!("{}", line(&row));
    TABLE.lock().unwrap_or_else(PoisonError::into_inner).push(row);
}

fn line(row: &Row) -> String {
    let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    format!("{}\t{:.3}\t{}\t{ratio}", row.metric, row.value, row.unit)
}

/// Prints the machine's load, which every other figure is to be read with.
pub(crate) fn load_average(when: &str) {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    if let Some(load) = text.split(' ').next().and_then(|load| load.parse().ok()) {
        row(&format!("load_average_{when}"), load, "processes", None);
    }
}

/// Writes the rows since the last time, and their plot, to `target/bench/`.
pub(crate) fn keep(name: &str) -> anyhow::Result<()> {
    let rows = std::mem::take(&mut *TABLE.lock().unwrap_or_else(PoisonError::into_inner));
    let mut text = format!("{HEAD}\n");
    for row in &rows {
        writeln!(text, "{}", line(row))?;
    }
    write(&format!("{name}.tsv"), &text)?;
    write(&format!("{name}.svg"), &plot::bars(name, &rows))
}

/// Writes a plot of latencies by quantile to `target/bench/NAME.svg`.
pub(crate) fn keep_latencies(name: &str, sides: &mut [(&str, Vec<Duration>)]) -> anyhow::Result<()> {
    let quantiles = (0..=400).map(|step| f64::from(step) / 400.0);
    let series: Vec<Series> = sides
        .iter_mut()
        .map(|(side, samples)| Series {
            name: (*side).to_owned(),
            points: quantiles.clone().map(|share| (share * 100.0, quantile_ms(samples, share))).collect(),
        })
        .collect();
    write(&format!("{name}.svg"), &plot::lines(name, "percent of the requests", "took at most, ms", &series))
}

/// Writes a file to `target/bench/`.
pub(crate) fn write(file: &str, text: &str) -> anyhow::Result<()> {
    let folder = folder()?;
    fs::create_dir_all(&folder)?;
    let path = folder.join(file);
    fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
}

/// `target/bench`, beside the folder of the running program.
fn folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("the program is not in a target folder")?;
    Ok(target.join("bench"))
}

/// The `share` quantile (0 to 1) of the samples, in milliseconds; 0 without samples.
pub(crate) fn quantile_ms(samples: &mut [Duration], share: f64) -> f64 {
    samples.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((samples.len().saturating_sub(1)) as f64 * share).round() as usize;
    samples.get(index).map_or(0.0, |sample| sample.as_secs_f64() * 1e3)
}

/// The middle one of a few repetitions.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
