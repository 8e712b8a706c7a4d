//! Instants, spans and sizes in the words of a page; the page's script keeps them current.

use domain::Timestamp;
use maud::{Markup, html};

/// `12 s`, `4 min 5 s`, `3 h 2 min`, `6 d 1 h`; the script says the same.
pub(crate) fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// How long ago or until when, as an element that goes on counting.
pub(super) fn when(at: &str, now: Timestamp) -> Markup {
    let Some(instant) = Timestamp::parse(at) else { return html! { (at) } };
    let ahead = instant.as_ms() - now.as_ms();
    let words = if ahead > 0 { format!("in {}", span(ahead)) } else { format!("{} ago", span(-ahead)) };
    html! { time datetime=(at) title=(at) data-form="when" { (words) } }
}

/// How long something lasts already, as an element that goes on counting.
pub(super) fn elapsed(since: &str, now: Timestamp) -> Markup {
    let Some(instant) = Timestamp::parse(since) else { return html! { (since) } };
    html! {
        time datetime=(since) title={ "since " (since) } data-form="elapsed" { (span(now.as_ms() - instant.as_ms())) }
    }
}

/// A state's word in its colour.
pub(super) fn state(word: &str) -> Markup {
    html! { span class={ "state " (word) } { (word) } }
}

/// A long id by its beginning, the whole of it under the pointer.
pub(super) fn short(id: &str) -> Markup {
    let end = id.char_indices().nth(SHORT_CHARS).map_or(id.len(), |(end, _)| end);
    html! { abbr title=(id) { (id[..end]) } }
}

const SHORT_CHARS: usize = 8;

/// A count in three figures at most: `950`, `12.3k`, `4.5M`.
#[expect(clippy::cast_precision_loss, reason = "shown to three figures")]
pub(super) fn thousands(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{:.1}k", count as f64 / 1e3),
        _ => format!("{:.1}M", count as f64 / 1e6),
    }
}

/// US dollars, to the cent or, below one, to the hundredth of it.
pub(super) fn dollars(amount: f64) -> String {
    if amount < 1.0 { format!("${amount:.4}") } else { format!("${amount:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let spans = [-5, 0, 59_999, 245_000, 10_920_000, 522_000_000].map(span);
        assert_eq!(spans, ["0 s", "0 s", "59 s", "4 min 5 s", "3 h 2 min", "6 d 1 h"]);
    }

    #[test]
    fn counts_are_short() {
        assert_eq!([999, 12_345, 4_500_000].map(thousands), ["999", "12.3k", "4.5M"]);
    }

    #[test]
    fn what_is_no_instant_is_shown_as_text() {
        assert_eq!(when("<b>", Timestamp::from_ms(0)).into_string(), "&lt;b&gt;");
    }
}
