//! Text made comparable: without colours, frames, white space and capitals.
//!
//! A line wrapped anywhere squeezes to what the unwrapped line squeezes to, so wrapping never changes a verdict.
//! What the text means is not decided here.

/// The most of a message that is compared; what decides stands at its start.
const SQUEEZED_BYTES_MAX: usize = 8 * 1024;

/// A message without white space, in ASCII lower case and with plain quotes and dashes.
#[derive(Clone, Debug)]
pub(super) struct Squeezed {
    text: String,
    /// For every byte of `text`, where its character starts in `source`; one more for the end.
    origins: Vec<usize>,
    source: String,
}

impl Squeezed {
    /// Takes text without escape sequences; see [`without_escapes`].
    pub(super) fn new(source: &str) -> Self {
        let (mut text, mut origins) = (String::new(), Vec::new());
        for (at, c) in source.char_indices() {
            let plain = match c {
                '\u{2018}' | '\u{2019}' => '\'',
                '\u{201c}' | '\u{201d}' => '"',
                '\u{2010}'..='\u{2015}' => '-',
                c if is_dropped(c) => continue,
                c => c.to_ascii_lowercase(),
            };
            if text.len() + plain.len_utf8() > SQUEEZED_BYTES_MAX {
                break;
            }
            text.push(plain);
            origins.resize(text.len(), at);
        }
        origins.push(source.len());
        Self { text, origins, source: source.to_owned() }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether it starts with one of `phrases`, which may be written with spaces.
    pub(super) fn starts_with_any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.text.starts_with(&squeezed(phrase)))
    }

    /// Whether one of `phrases` is anywhere in it.
    pub(super) fn has_any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.text.contains(&squeezed(phrase)))
    }

    /// What follows the last character of the longest of `phrases` it starts with.
    pub(super) fn without_prefix(&self, phrases: &[&str]) -> Option<&str> {
        phrases
            .iter()
            .filter_map(|phrase| self.text.strip_prefix(&squeezed(phrase)))
            .min_by_key(|rest| rest.len())
    }

    /// The source of a stretch of [`Self::as_str`], its white space made single spaces.
    pub(super) fn source_of(&self, start: usize, end: usize) -> String {
        let stretch = &self.source[self.origins[start]..self.origins[end]];
        stretch.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The start of the source for people, in one line.
    pub(super) fn headline(&self, chars_max: usize) -> String {
        let words = self.source.split_whitespace().collect::<Vec<_>>().join(" ");
        match words.char_indices().nth(chars_max) {
            Some((end, _)) => format!("{}…", &words[..end]),
            None => words,
        }
    }
}

/// A phrase as it stands in squeezed text.
pub(super) fn squeezed(phrase: &str) -> String {
    phrase.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect()
}

/// White space, control characters, zero-width marks and the frames that terminal programs draw.
fn is_dropped(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{2500}'..='\u{257f}' | '\u{fffd}')
}

/// Drops terminal escape sequences: colours, cursor movement, titles and links.
pub(super) fn without_escapes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_until_final(&mut chars),
            c => kept.push(c),
        }
    }
    kept
}

fn skip_escape(chars: &mut std::str::Chars<'_>) {
    match chars.next() {
        Some('[') => skip_until_final(chars),
        // A title or link runs to BEL or ST; one that never ends takes no more than its line.
        Some(']') => {
            while let Some(c) = chars.clone().next() {
                if c == '\n' {
                    return;
                }
                chars.next();
                if c == '\u{7}' {
                    return;
                }
                if c == '\u{1b}' {
                    if chars.as_str().starts_with('\\') {
                        chars.next();
                    }
                    return;
                }
            }
        }
        Some('(' | ')') => {
            chars.next();
        }
        Some(_) | None => {}
    }
}

fn skip_until_final(chars: &mut std::str::Chars<'_>) {
    while let Some(c) = chars.clone().next() {
        if !c.is_ascii() || c.is_ascii_control() {
            return;
        }
        chars.next();
        if ('@'..='~').contains(&c) {
            return;
        }
    }
}
