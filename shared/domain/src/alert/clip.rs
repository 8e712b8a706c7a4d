//! Text cut by UTF-16 units, which is how Telegram counts, and never inside a character.

/// What stands where something was left out.
const ELLIPSIS: char = '…';

/// The text, or as much of its beginning as fits into `units_max` with an ellipsis behind it.
pub fn clip(text: &str, units_max: usize) -> String {
    if units(text) <= units_max {
        return text.to_owned();
    }
    let head = prefix(text, units_max.saturating_sub(ELLIPSIS.len_utf16()));
    let mut clipped = head.trim_end().to_owned();
    clipped.push(ELLIPSIS);
    clipped
}

/// Cuts a text into parts of at most `units_max` UTF-16 units: at the end of a line where there is one in the second
/// half, else at a space, else between two characters. What is cut at is dropped, and no part is blank.
///
/// # Panics
/// When `units_max` is below 2, the length of one character.
pub fn split(text: &str, units_max: usize) -> Vec<&str> {
    assert!(units_max >= 2, "a part must have room for one character");
    let (mut parts, mut rest) = (Vec::new(), text.trim());
    while units(rest) > units_max {
        let head = prefix(rest, units_max);
        // A separator right behind the head is as good as one inside it.
        let window = &rest[..head.len() + rest[head.len()..].chars().next().map_or(0, char::len_utf8)];
        let half = head.len() / 2;
        let cut = window
            .rfind('\n')
            .filter(|at| *at > half)
            .or_else(|| window.rfind(char::is_whitespace).filter(|at| *at > half))
            .unwrap_or(head.len());
        parts.push(rest[..cut].trim_end());
        rest = rest[cut..].trim_start();
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

/// How many UTF-16 units a text has.
pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The longest beginning of at most `units_max` units.
fn prefix(text: &str, units_max: usize) -> &str {
    let mut left = units_max;
    let end = text.char_indices().find(|(_, c)| match left.checked_sub(c.len_utf16()) {
        Some(after) => {
            left = after;
            false
        }
        None => true,
    });
    end.map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_kept_whole_where_they_can_be() {
        assert_eq!(split("one two\nthree four\nfive", 12), ["one two", "three four", "five"]);
        assert_eq!(split("one two three", 8), ["one two", "three"]);
        assert_eq!(split("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(split("  \n ", 3), [""; 0]);
        // A surrogate pair does not fit into what is left, so it goes whole into the next part.
        assert_eq!(split("a😀😀b", 4), ["a😀", "😀b"]);
        assert_eq!((clip("a😀😀", 4).as_str(), clip("a😀😀", 5).as_str()), ("a😀…", "a😀😀"));
    }

    fn anything() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop_oneof![
                4 => Just(' '), 2 => Just('\n'), 6 => proptest::char::range('a', 'e'), 3 => Just('😀'), 2 => Just('é'),
                1 => any::<char>(),
            ],
            0..300,
        )
        .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn parts_fit_and_lose_nothing_but_blanks(text in anything(), units_max in 2_usize..50) {
            let parts = split(&text, units_max);
            for part in &parts {
                prop_assert!(units(part) <= units_max && !part.trim().is_empty(), "{part:?}");
            }
            let solid = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(solid(&parts.concat()), solid(&text));
        }

        #[test]
        fn a_clipped_text_fits_and_is_a_beginning(text in anything(), units_max in 1_usize..50) {
            let clipped = clip(&text, units_max);
            prop_assert!(units(&clipped) <= units_max);
            prop_assert!(clipped == text || text.starts_with(clipped.strip_suffix(ELLIPSIS).unwrap()));
        }
    }
}
