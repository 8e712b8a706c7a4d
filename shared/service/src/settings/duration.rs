//! Durations as people write them in settings.

use std::time::Duration;

/// The longest duration a setting may name: ten years, so that sums with times never overflow.
const SECONDS_MAX: f64 = 10.0 * 366.0 * 86_400.0;

/// Parses `500ms`, `1s`, `2m`, `1h`, `7d` or plain seconds (`30`, `0.5`); at most ten years. For clap's `value_parser`.
///
/// # Errors
/// A message for the person who wrote the setting.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write 500ms, 1s, 2m, 1h, 7d or plain seconds");
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds_each = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let number = number.trim_end();
    if !number.starts_with(|c: char| c.is_ascii_digit()) || !number.ends_with(|c: char| c.is_ascii_digit()) {
        return Err(wrong());
    }
    let seconds = number.parse::<f64>().map_err(|_| wrong())? * seconds_each;
    if seconds > SECONDS_MAX {
        return Err(format!("`{text}` is longer than ten years"));
    }
    Ok(Duration::from_millis(
        Duration::from_secs_f64(seconds).as_micros().div_ceil(1000).try_into().unwrap_or(u64::MAX),
    ))
}

/// Writes a duration the way [`duration`] reads it, in the largest unit that divides it: `90s`, `2m`, `1500ms`.
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.into_iter().find(|(size, _)| ms > 0 && ms.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", ms / size),
        None => format!("{ms}ms"),
    }
}
