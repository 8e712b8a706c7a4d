//! Texts from outside, made fit for a prompt, a terminal and a database: bounded, and free of what nobody sees.

/// What stands where the end of a text was left out.
pub const CUT: &str = "… [cut]";

/// The visible part of `text`, its line ends as `\n`, within `bytes_max` bytes; what is longer is cut and marked.
///
/// Control characters, zero-width and bidirectional marks, tags and other letters without a shape are left out: they can
/// hide words from a person who checks what an agent reads.
pub fn clean(text: &str, bytes_max: usize) -> String {
    // Cut before and after: a text of any length costs no more than the bound, and cleaning only ever shortens.
    let cut_before = text.len() > bytes_max.saturating_mul(INVISIBLE_FACTOR);
    let text = &text[..text.floor_char_boundary(bytes_max.saturating_mul(INVISIBLE_FACTOR))];
    let mut cleaned = String::with_capacity(text.len().min(bytes_max));
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' => {
                letters.next_if_eq(&'\n');
                cleaned.push('\n');
            }
            '\n' | '\u{2028}' | '\u{2029}' | '\u{85}' => cleaned.push('\n'),
            '\t' => cleaned.push(' '),
            letter if is_invisible(letter) => {}
            letter => cleaned.push(letter),
        }
    }
    if cut_before || cleaned.len() > bytes_max {
        cleaned.truncate(cleaned.floor_char_boundary(bytes_max.saturating_sub(CUT.len())));
        cleaned.push_str(CUT);
    }
    cleaned
}

/// [`clean`] in one line: every run of white space becomes one blank.
pub fn line(text: &str, bytes_max: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let cleaned = clean(&words.join(" "), bytes_max);
    // Marks without a shape may have stood between two blanks.
    cleaned.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How many times longer than its bound a text is looked at: beyond, it is nearly all invisible.
const INVISIBLE_FACTOR: usize = 4;

/// Whether a letter has no shape of its own, or changes how others are shown.
const fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'       // controls, ESC among them
        | '\u{ad}' | '\u{34f}' | '\u{61c}'          // soft hyphen, joiner, Arabic mark
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // fillers
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'                   // zero width, left-to-right marks
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' // bidirectional overrides and isolates
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}') // tags, variation selectors
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_nobody_sees_is_left_out() {
        let cases = [
            ("a\u{1b}[31mred\u{1b}[0m", "a[31mred[0m"),
            ("one\r\ntwo\rthree\u{2028}four", "one\ntwo\nthree\nfour"),
            ("pass\u{200b}word \u{202e}drow\u{202c}", "password drow"),
            ("\u{feff}\u{e0041}\u{e0042}tag\u{e007f}", "tag"),
            ("\0\u{7}\u{9b}x\ty", "x y"),
            ("naïve 日本語 🦀", "naïve 日本語 🦀"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text, 1000), expected, "{text:?}");
        }
    }

    #[test]
    fn one_line_stays_one_line() {
        assert_eq!(line(" a\n\n b\u{200b} \u{200b}\tc\u{2029}d ", 100), "a b c d");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(clean(&"é".repeat(20), 21), format!("{}{CUT}", "é".repeat(6)));
        assert!(clean(&format!("{}end", "\u{200b}".repeat(400)), 50).ends_with(CUT));
        assert_eq!(clean("short", 5), "short");
    }

    proptest! {
        #[test]
        fn cleaning_is_bounded_and_final(text in any::<String>(), bytes_max in 16_usize..200) {
            let cleaned = clean(&text, bytes_max);
            prop_assert!(cleaned.len() <= bytes_max);
            prop_assert!(!cleaned.chars().any(|letter| letter != '\n' && is_invisible(letter)));
            prop_assert_eq!(clean(&cleaned, bytes_max), cleaned);
        }
    }
}
