//! Reads how many seconds a message asks us to wait.

use super::cursor::Cursor;
use super::squeeze::Squeezed;

/// Words before the number; what follows it must be a unit or nothing that continues it.
const ANNOUNCEMENTS: &[&str] = &["retry_after", "retry-after", "retryafter", "tryagainin", "retryin"];

/// Finds the first wait that `message` names, in seconds.
pub(super) fn find(message: &Squeezed) -> Option<u64> {
    let text = message.as_str();
    let mut starts: Vec<usize> = ANNOUNCEMENTS
        .iter()
        .flat_map(|words| text.match_indices(words).map(|(at, found)| at + found.len()))
        .collect();
    starts.sort_unstable();
    starts.into_iter().find_map(|start| {
        let mut cursor = Cursor::new(text, start);
        while cursor.eat_any(&["\"", "'", ":", "=", "header", "of", "about", "~"]) {}
        let (number, _) = cursor.number(6)?;
        if cursor.at("-") || cursor.at("/") {
            return None;
        }
        // A fraction is rounded up: too early is worse than a second late.
        let fraction = cursor.attempt(|cursor| if cursor.eat(".") { cursor.number(9) } else { None });
        let unit = if cursor.eat_any(&["milliseconds", "ms"]) {
            return u64::try_from(number).ok().map(|ms| ms.div_ceil(1000));
        } else if cursor.eat_any(&["minute", "min"]) {
            60
        } else if cursor.eat_any(&["hour", "hr"]) {
            3600
        } else {
            1
        };
        let rounded = i64::from(fraction.is_some_and(|(digits, _)| digits > 0));
        u64::try_from(number.checked_mul(unit)? + rounded).ok()
    })
}
