//! The messages that transactions of PostgreSQL stores send, in an order in which somebody else can send them again.

use std::sync::{Mutex, PoisonError};

/// A transaction as a store ran it.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The number of its connection: from 0, as few as ran side by side.
    pub connection: usize,
    /// Its messages to the server, each one of several statements.
    pub messages: Vec<String>,
    /// How many transactions of each connection had ended when it began; none of those that are not named.
    pub after: Vec<usize>,
}

static REEL: Mutex<Reel> =
    Mutex::new(Reel { transactions: Vec::new(), in_use: Vec::new(), ended: Vec::new() });

/// What was kept, and who is at it.
#[derive(Debug)]
struct Reel {
    transactions: Vec<Transaction>,
    /// Whether each connection has a transaction now.
    in_use: Vec<bool>,
    /// How many each had before.
    ended: Vec<usize>,
}

/// Ends the recording.
pub(super) fn take() -> Vec<Transaction> {
    let mut reel = REEL.lock().unwrap_or_else(PoisonError::into_inner);
    reel.in_use.clear();
    reel.ended.clear();
    std::mem::take(&mut reel.transactions)
}

/// Keeps one transaction's messages, from its first to its drop.
#[derive(Debug, Default)]
pub(crate) struct Tape(Option<usize>);

impl Tape {
    pub(crate) fn keep(&mut self, message: &str) {
        if !super::is_recording() {
            return;
        }
        let mut reel = REEL.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *self.0.get_or_insert_with(|| reel.begin());
        if let Some(transaction) = reel.transactions.get_mut(number) {
            transaction.messages.push(message.to_owned());
        }
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        if let Some(number) = self.0 {
            REEL.lock().unwrap_or_else(PoisonError::into_inner).end(number);
        }
    }
}

impl Reel {
    fn begin(&mut self) -> usize {
        let free = self.in_use.iter_mut().enumerate().find(|(_, in_use)| !**in_use);
        let connection = if let Some((connection, in_use)) = free {
            *in_use = true;
            connection
        } else {
            self.in_use.push(true);
            self.ended.push(0);
            self.in_use.len() - 1
        };
        self.transactions.push(Transaction { connection, messages: Vec::new(), after: self.ended.clone() });
        self.transactions.len() - 1
    }

    fn end(&mut self, number: usize) {
        // Of a recording that ended before it.
        let Some(transaction) = self.transactions.get(number) else { return };
        let connection = transaction.connection;
        if let (Some(in_use), Some(ended)) = (self.in_use.get_mut(connection), self.ended.get_mut(connection))
        {
            *in_use = false;
            *ended += 1;
        }
    }
}
