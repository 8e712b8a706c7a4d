//! A place in squeezed text, from which small grammars read forward.

/// Reads a text from left to right; a failed [`Self::attempt`] leaves it where it was.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at byte `at`, which lies between two characters.
    pub(super) const fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    pub(super) const fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn at(&self, word: &str) -> bool {
        self.rest().starts_with(word)
    }

    /// Passes `word` when it is next.
    pub(super) fn eat(&mut self, word: &str) -> bool {
        let found = self.at(word);
        if found {
            self.at += word.len();
        }
        found
    }

    /// Passes the first of `words` that is next.
    pub(super) fn eat_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.eat(word))
    }

    /// Passes what `read` reads, or nothing when it gives `None`.
    pub(super) fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.at;
        let read = read(self);
        if read.is_none() {
            self.at = before;
        }
        read
    }

    /// A whole number of at most `digits_max` digits (no more than 18), with its digits; none when more follow.
    pub(super) fn number(&mut self, digits_max: usize) -> Option<(i64, usize)> {
        let digits = self.digits();
        if digits > digits_max { None } else { self.take_number(digits) }
    }

    /// Like [`Self::number`], but takes the first `digits_max` digits when more follow.
    pub(super) fn number_upto(&mut self, digits_max: usize) -> Option<(i64, usize)> {
        self.take_number(self.digits().min(digits_max))
    }

    fn digits(&self) -> usize {
        self.rest().bytes().take_while(u8::is_ascii_digit).count()
    }

    fn take_number(&mut self, digits: usize) -> Option<(i64, usize)> {
        let number = self.rest()[..digits].parse().ok()?;
        self.at += digits;
        Some((number, digits))
    }

    /// What stands before `end`, when that comes within `bytes_max`.
    pub(super) fn until(&mut self, end: &str, bytes_max: usize) -> Option<&'a str> {
        let length = self.rest().find(end).filter(|length| *length <= bytes_max)?;
        let found = &self.rest()[..length];
        self.at += length;
        Some(found)
    }

    /// The longest not empty stretch of characters that `keep` takes, when within `bytes_max`.
    pub(super) fn while_any(&mut self, keep: impl Fn(char) -> bool, bytes_max: usize) -> Option<&'a str> {
        let length = self.rest().find(|c| !keep(c)).unwrap_or(self.rest().len());
        if length == 0 || length > bytes_max {
            return None;
        }
        let found = &self.rest()[..length];
        self.at += length;
        Some(found)
    }
}
