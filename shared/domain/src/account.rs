//! A provider account as it is kept: what holds it, its breaker, its quota windows; and what the end of a run does to it.
//!
//! Shared by all runners that use it. What it lets start now is `admission`'s business.

mod quota;

use serde::{Deserialize, Serialize};

use crate::breaker::{Breaker, BreakerTerms, Opening, Said, Turn};
use crate::outcome::RateLimit;
use crate::{Account, Alert, Timestamp};

pub use quota::WINDOWS_MAX;

/// An account's row.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountRecord {
    /// Its name.
    pub account: Account,
    /// The last hold, which may be over.
    pub hold: Option<Hold>,
    /// Its breaker.
    pub breaker: Breaker,
    /// The windows of its quota by name, over ones among them; at most [`WINDOWS_MAX`].
    pub windows: Vec<RateLimit>,
}

/// Why and how long no work starts on an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// Until then; `None`: until a person resumes it.
    pub until: Option<Timestamp>,
}

/// What holds an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// Its credential is refused.
    Auth,
    /// Money or a spend limit.
    Billing,
    /// A window of its quota is spent.
    UsageLimit,
}

impl HoldReason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auth, Self::Billing, Self::UsageLimit];

    /// The word used in the database and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Billing => "billing",
            Self::UsageLimit => "usage_limit",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// What the end of a run says of its account; part of the transition that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountNews {
    /// What it says of the provider.
    pub said: Said,
    /// The reason's word.
    pub reason: &'static str,
    /// Whether it holds the account.
    pub hold: Option<Hold>,
    /// Whether windows that the run saw rejected hold the account: not those of a run that got its work done, be it
    /// with another model or on paid extra usage.
    pub windows_hold: bool,
    /// When the breaker opens.
    pub terms: BreakerTerms,
}

impl AccountNews {
    /// Whether it changes anything by itself, whatever windows its run saw.
    pub fn says_something(&self) -> bool {
        self.said != Said::Nothing || self.hold.is_some()
    }
}

impl AccountRecord {
    /// An account of which nothing is known yet.
    pub const fn new(account: Account) -> Self {
        Self {
            account,
            hold: None,
            breaker: Breaker { consecutive_transient: 0, opening: Opening(0), open_until: None },
            windows: Vec::new(),
        }
    }

    /// The hold, if it is in force at `now`. It lapses by itself.
    pub fn held(&self, now: Timestamp) -> Option<Hold> {
        self.hold.filter(|hold| hold.until.is_none_or(|until| until > now))
    }

    fn open_windows(&self, now: Timestamp) -> impl Iterator<Item = &RateLimit> {
        self.windows.iter().filter(move |window| quota::is_open(window, now))
    }

    /// Takes the end of a run that was claimed under `claimed_under` and saw `windows`.
    pub fn run_ended(
        &mut self,
        news: AccountNews,
        claimed_under: Opening,
        windows: &[RateLimit],
        now: Timestamp,
    ) -> Vec<Alert> {
        let turn = self.breaker.hear(news.said, claimed_under, now, news.terms);
        let mut alerts: Vec<Alert> = turn.map(|turn| self.told(turn, news.reason)).into_iter().collect();
        quota::merge(&mut self.windows, windows);
        let rejected = quota::rejected_until(windows, now).filter(|_| news.windows_hold);
        let rejected = rejected.map(|until| Hold { reason: HoldReason::UsageLimit, until: Some(until) });
        for hold in news.hold.into_iter().chain(rejected) {
            alerts.extend(self.take_hold(hold, now));
        }
        alerts
    }

    /// Takes the windows that a run sees while it runs. They hold nothing yet: the run may still get its work done.
    pub fn see(&mut self, windows: &[RateLimit]) {
        quota::merge(&mut self.windows, windows);
    }

    /// Lifts the hold, at an operator's word; `None`: there was none in force.
    pub fn resume(&mut self, now: Timestamp) -> Option<Alert> {
        let held = self.held(now);
        self.hold = None;
        held.map(|_| Alert::AccountResumed { account: self.account.clone() })
    }

    /// Closes the breaker and forgets its count, at an operator's word; `None`: it was closed.
    pub fn reset_breaker(&mut self) -> Option<Alert> {
        self.breaker.close().map(|turn| self.told(turn, ""))
    }

    fn told(&self, turn: Turn, reason: &str) -> Alert {
        let account = self.account.clone();
        match turn {
            Turn::Opened { until } => {
                let consecutive = self.breaker.consecutive_transient;
                Alert::BreakerOpened { account, consecutive, reason: reason.to_owned(), until }
            }
            Turn::Closed => Alert::BreakerClosed { account },
        }
    }

    /// A hold never shortens a longer one, nor one that waits for a person.
    ///
    /// Told when nothing held it before, or something else did.
    fn take_hold(&mut self, hold: Hold, now: Timestamp) -> Option<Alert> {
        let in_force = self.held(now);
        let longer = match in_force {
            None => hold.until.is_none_or(|until| until > now),
            Some(old) => old.until.is_some_and(|old| hold.until.is_none_or(|until| until > old)),
        };
        if !longer {
            return None;
        }
        self.hold = Some(hold);
        let is_news = in_force.is_none_or(|old| old.reason != hold.reason);
        is_news.then(|| Alert::AccountHeld {
            account: self.account.clone(),
            reason: hold.reason.as_str().to_owned(),
            until: hold.until,
        })
    }

    /// The window with the least left, if that is less than the share `reserve` of it. One that names no end is passed
    /// by: it would never be over.
    pub fn short_of(&self, reserve: f64, now: Timestamp) -> Option<&RateLimit> {
        let ending = self.open_windows(now).filter(|window| window.resets_at.is_some());
        quota::fullest(ending).filter(|window| quota::used(window) > 1.0 - reserve)
    }

    /// The windows that are not over at `now`, each with the share used.
    pub fn quota(&self, now: Timestamp) -> impl Iterator<Item = (&RateLimit, Option<f64>)> {
        self.open_windows(now).map(|window| (window, quota::known_used(window)))
    }
}

#[cfg(test)]
mod tests;
