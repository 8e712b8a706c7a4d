//! What the ends of runs do to their accounts, whatever keeps the rows: `domain::account` decides, this says what is
//! written.

use std::collections::{BTreeMap, BTreeSet};

use domain::Account;
use domain::account::{AccountNews, AccountRecord};
use domain::alert::Notice;
use domain::breaker::Opening;

use crate::Change;

/// The accounts of the runs that a batch of changes ends.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    records: BTreeMap<Account, AccountRecord>,
    changed: BTreeSet<Account>,
    /// What people are told of it.
    pub(crate) notices: Vec<Notice>,
}

impl Hearing {
    /// Whether the end of a run may say something of its account, which is then to be read.
    pub(crate) fn concerns(change: &Change) -> bool {
        let saw = change.outcome.as_ref().is_some_and(|outcome| !outcome.report.rate_limits.is_empty());
        change.transition.news.is_some_and(|news: AccountNews| news.says_something() || saw)
    }

    /// Takes a change, with its run's account as it is kept and the opening that its run was claimed under.
    pub(crate) fn take(&mut self, change: &Change, account: AccountRecord, claimed_under: Opening) {
        let Some(news) = change.transition.news else { return };
        let name = account.account.clone();
        // Another end of the batch may have changed it already.
        let record = self.records.entry(name.clone()).or_insert(account);
        let before = record.clone();
        let windows = change.outcome.as_ref().map_or(&[][..], |outcome| &outcome.report.rate_limits);
        let alerts = record.run_ended(news, claimed_under, windows, change.now);
        self.notices.extend(alerts.into_iter().map(|alert| Notice::new(alert, change.now)));
        if *record != before {
            self.changed.insert(name);
        }
    }

    /// The accounts to write.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &AccountRecord> {
        self.changed.iter().filter_map(|account| self.records.get(account))
    }
}
