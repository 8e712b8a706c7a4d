//! How far the reconciler has looked, kept so that a restart neither forgets nor repeats.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How far one listing of one project was read. A listing shows the newest change first and is read page by page down to
/// what is known; a walk that was not finished goes on at its page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Everything changed up to here was looked at, by the sender's clock; `None`: the first walk is not over.
    pub since: Option<Timestamp>,
    /// What was there before the first walk, by the sender's clock; nothing older is announced as new.
    pub baseline: Option<Timestamp>,
    /// The walk under way.
    pub walk: Option<Walk>,
    /// The work item that was last asked after.
    pub checked: Option<String>,
}

/// A walk under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// The page to read next, from 0.
    pub page: u32,
    /// The newest change seen at its beginning.
    pub newest: Timestamp,
}

/// What one page says of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The newest change on it; `None`: it is empty.
    pub newest: Option<Timestamp>,
    /// The oldest change on it.
    pub oldest: Option<Timestamp>,
    /// Whether there is another one.
    pub more: bool,
}

impl Cursor {
    /// The page to read next.
    pub fn page(&self) -> u32 {
        self.walk.map_or(0, |walk| walk.page)
    }

    /// Whether all that is read is only taken down, because nobody knows what was announced before.
    pub const fn is_first_walk(&self) -> bool {
        self.since.is_none()
    }

    /// The cursor after a page was worked through. What changes meanwhile stands at the front, and is found by the next
    /// walk. Changes within `overlap` before what is known are read again, since a replica may lag.
    #[must_use]
    pub fn after(&self, page: Page, overlap: std::time::Duration) -> Self {
        let walk = self.walk.unwrap_or(Walk { page: 0, newest: page.newest.unwrap_or_default() });
        let reaches = |since: Timestamp| page.oldest.is_none_or(|oldest| oldest.plus(overlap) < since);
        if page.more && !self.since.is_some_and(reaches) {
            return Self { walk: Some(Walk { page: walk.page.saturating_add(1), ..walk }), ..self.clone() };
        }
        let since = self.since.unwrap_or_default().max(walk.newest);
        Self { since: Some(since), baseline: self.baseline.or(Some(since)), walk: None, ..self.clone() }
    }

    /// The cursor after a part of a listing was worked through that knows no time of change: at its end it begins anew.
    #[must_use]
    pub fn after_part(&self, now: Timestamp, more: bool) -> Self {
        let walk = self.walk.unwrap_or(Walk { page: 0, newest: now });
        if more {
            return Self { walk: Some(Walk { page: walk.page.saturating_add(1), ..walk }), ..self.clone() };
        }
        let since = Some(walk.newest);
        Self { since, baseline: self.baseline.or(since), walk: None, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OVERLAP: Duration = Duration::from_millis(10);

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn page(newest: i64, oldest: i64, more: bool) -> Page {
        Page { newest: Some(at(newest)), oldest: Some(at(oldest)), more }
    }

    #[test]
    fn the_first_walk_reads_everything_and_goes_on_where_it_was_cut_off() {
        let first = Cursor::default().after(page(900, 700, true), OVERLAP);
        assert_eq!((first.page(), first.is_first_walk()), (1, true));
        let kept: Cursor = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
        let over = kept.after(page(690, 100, false), OVERLAP);
        assert_eq!((over.since, over.baseline, over.page()), (Some(at(900)), Some(at(900)), 0));
    }

    #[test]
    fn a_later_walk_ends_at_what_is_known() {
        let known = Cursor { since: Some(at(900)), baseline: Some(at(900)), ..Cursor::default() };
        let on = known.after(page(1_500, 895, true), OVERLAP);
        assert_eq!(on.page(), 1, "within the overlap it goes on");
        let over = on.after(page(894, 880, true), OVERLAP);
        assert_eq!((over.since, over.baseline, over.page()), (Some(at(1_500)), Some(at(900)), 0));
        let quiet = over.after(page(1_500, 100, false), OVERLAP);
        assert_eq!(quiet, over, "nothing new changes nothing");
    }

    #[test]
    fn a_listing_without_times_is_walked_from_end_to_end() {
        let part = Cursor::default().after_part(at(10), true);
        assert_eq!((part.page(), part.is_first_walk()), (1, true));
        let over = part.after_part(at(20), false);
        assert_eq!((over.page(), over.since, over.baseline), (0, Some(at(10)), Some(at(10))));
        let again = over.after_part(at(30), true).after_part(at(40), false);
        assert_eq!((again.page(), again.since, again.baseline), (0, Some(at(30)), Some(at(10))));
    }

    #[test]
    fn an_empty_project_has_a_baseline_too() {
        let empty = Page { newest: None, oldest: None, more: false };
        let over = Cursor::default().after(empty, OVERLAP);
        assert_eq!((over.is_first_walk(), over.baseline), (false, Some(Timestamp::default())));
    }
}
