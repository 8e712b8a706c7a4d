//! The recorded messages, sent by as many connections as the store had in use: each sends its transactions one after the other, and
//! begins one when those are over that were over in the recording.

use std::process::Command;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use store::force::{Session, Transaction};
use tokio::sync::watch;
use tokio::time::Instant;

use super::COUNTS;

/// Connections, made when they are needed first.
#[derive(Debug)]
pub(in super::super) struct Replay {
    url: String,
    sessions: Vec<Session>,
}

impl Replay {
    pub(in super::super) const fn new(url: String) -> Self {
        Self { url, sessions: Vec::new() }
    }

    /// Runs all of them; gives the rate of `jobs` per second.
    pub(in super::super) async fn run(
        &mut self,
        transactions: &[Transaction],
        jobs: usize,
    ) -> anyhow::Result<f64> {
        let connections = transactions.iter().map(|one| one.connection + 1).max().unwrap_or(0);
        while self.sessions.len() < connections {
            self.sessions.push(Session::open(&self.url).await?);
        }
        let ended = watch::Sender::new(vec![0; connections]);
        let begun = Instant::now();
        let lanes = self.sessions.iter_mut().enumerate();
        try_join_all(lanes.map(|(connection, session)| lane(session, connection, transactions, &ended)))
            .await?;
        let took = begun.elapsed();
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        Ok(jobs as f64 / took.as_secs_f64())
    }

    pub(in super::super) async fn close(self) -> anyhow::Result<()> {
        for session in self.sessions {
            session.close().await?;
        }
        Ok(())
    }
}

/// The transactions of one connection.
async fn lane(
    session: &mut Session,
    connection: usize,
    transactions: &[Transaction],
    ended: &watch::Sender<Vec<usize>>,
) -> anyhow::Result<()> {
    let mut others = ended.subscribe();
    for transaction in transactions.iter().filter(|transaction| transaction.connection == connection) {
        let may_begin =
            |ended: &Vec<usize>| ended.iter().zip(&transaction.after).all(|(now, then)| now >= then);
        others.wait_for(may_begin).await?;
        for message in &transaction.messages {
            session.send(message).await.with_context(|| message.clone())?;
        }
        ended.send_modify(|ended| {
            if let Some(count) = ended.get_mut(connection) {
                *count += 1;
            }
        });
    }
    Ok(())
}

/// What a database says of its jobs and runs.
pub(in super::super) fn counts(url: &str) -> anyhow::Result<String> {
    let output = Command::new(postgres_server::binaries().join("psql"))
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", COUNTS, url])
        .output()
        .context("could not run psql")?;
    ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
