//! What goes wrong with answers, asked for ahead: each fault is for the next requests of a method and a part of a path.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Method;

/// What happens to a request in place of, or after, its being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not done; answered with this status.
    Status(u16),
    /// Not done; answered as when too much was asked, with the seconds to wait.
    Limited(u64),
    /// Not done; the connection is closed.
    DropBefore,
    /// Done, and the connection is closed in place of an answer.
    DropAfter,
    /// Done, and answered with this status all the same.
    StatusAfter(u16),
    /// Done and answered after this time.
    Slow(Duration),
    /// Done, and never answered.
    Hang,
}

#[derive(Debug)]
struct Rule {
    method: Method,
    part: String,
    fault: Fault,
    times: u32,
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    /// The next `times` requests of `method` whose path contains `part` fare like that; rules apply in their order.
    pub fn next(&self, method: Method, part: &str, fault: Fault, times: u32) {
        self.lock().push(Rule { method, part: part.to_owned(), fault, times });
    }

    /// Forgets those that did not come.
    pub fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn take(&self, method: &Method, path: &str) -> Option<Fault> {
        let mut rules = self.lock();
        let rule = rules
            .iter_mut()
            .find(|rule| rule.times > 0 && rule.method == *method && path.contains(&rule.part))?;
        rule.times -= 1;
        Some(rule.fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        // Every change is complete before the lock goes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
