//! A list that is only added to, with the time of each entry and whose it was.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// The most entries kept.
const ENTRIES_MAX: usize = 100_000;

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// When.
    pub at: Timestamp,
    /// By whose credential: a login or display name.
    pub by: String,
    /// What.
    pub what: T,
}

#[derive(Debug)]
pub(super) struct Log<T>(Mutex<Vec<Entry<T>>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Log<T> {
    pub(super) fn add(&self, by: &str, what: T) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() < ENTRIES_MAX {
            entries.push(Entry { at: Timestamp::now(), by: by.to_owned(), what });
        }
    }

    pub(super) fn all(&self) -> Vec<Entry<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
