//! Rows of the table, and the few numbers drawn from samples.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static HEADED: AtomicBool = AtomicBool::new(false);

/// Prints a figure; `limit` is the same figure of the thing that bounds it, from the same run.
pub(crate) fn row(metric: &str, value: f64, unit: &str, limit: Option<f64>) {
    if !HEADED.swap(true, Ordering::Relaxed) {
        println!("metric\tvalue\tunit\tratio_to_limit");
    }
    let ratio = limit.map_or_else(|| "-".to_owned(), |limit| format!("{:.2}", value / limit));
    println!("{metric}\t{value:.3}\t{unit}\t{ratio}");
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
