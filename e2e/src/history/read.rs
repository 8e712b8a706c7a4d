//! Reads a history back from where it was recorded: the database, by the `sqlite3` or `psql` program, and the ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;

use super::{Ack, Agent, History, Order};
use crate::harness::boot_ms;

const JOBS: &str =
    "SELECT id, status, epoch, attempts, transient_attempts, infra_attempts FROM jobs ORDER BY id";
const RUNS: &str =
    "SELECT id, job_id, epoch, node, offered_at, started_at, ended_at, class, reason FROM runs ORDER BY id";
const UNFINISHED: &str = "SELECT count(*) AS jobs FROM jobs WHERE status IN ('queued', 'running')";
const LATE: &str = "SELECT run_id FROM late_outcomes ORDER BY run_id";

/// A database that is read past all services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// A SQLite file.
    File(PathBuf),
    /// The url of a PostgreSQL database.
    Server(String),
}

/// Joins what the senders and people noted with the rows of a database and the lines of a ledger.
///
/// # Errors
/// One of them cannot be read.
pub async fn read(
    database: &Records,
    ledger: &Path,
    acks: Vec<Ack>,
    orders: Vec<Order>,
) -> anyhow::Result<History> {
    #[derive(Deserialize)]
    struct Late {
        run_id: String,
    }
    let jobs: Vec<super::Job> = database.rows(JOBS).await?;
    let late: Vec<Late> = database.rows(LATE).await?;
    Ok(History {
        acks,
        jobs: jobs.into_iter().map(|job| (job.id, job)).collect(),
        runs: database.rows(RUNS).await?,
        late: late.into_iter().map(|row| row.run_id).collect(),
        agents: agents(&std::fs::read_to_string(ledger).unwrap_or_default())?,
        orders,
        boot_to_utc_ms: utc_ms() - boot_ms(),
    })
}

/// How many jobs are queued or running.
///
/// # Errors
/// The database cannot be read.
pub async fn unfinished(database: &Records) -> anyhow::Result<u64> {
    #[derive(Deserialize)]
    struct Count {
        jobs: u64,
    }
    let count: Vec<Count> = database.rows(UNFINISHED).await?;
    count.first().map(|count| count.jobs).context("a count has no row")
}

/// UTC in milliseconds, as the database has it.
pub fn utc_ms() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

impl Records {
    /// The rows that a query gives.
    async fn rows<T: DeserializeOwned>(&self, query: &str) -> anyhow::Result<Vec<T>> {
        let url = match self {
            Self::File(path) => return rows(path, query).await,
            Self::Server(url) => url,
        };
        let query = format!("SELECT coalesce(json_agg(found), '[]') FROM ({query}) AS found");
        let mut command = Command::new("psql");
        command.args([url, "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", &query]).stdin(Stdio::null());
        let output = command.output().await.context("could not start psql")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The rows that a query of a SQLite file gives.
pub(crate) async fn rows<T: DeserializeOwned>(database: &Path, query: &str) -> anyhow::Result<Vec<T>> {
    let mut command = Command::new("sqlite3");
    command.args(["-readonly", "-json", "-cmd", ".timeout 10000"]).arg(database).arg(query);
    let output = command.output().await.context("could not start sqlite3")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Of no rows it prints nothing at all.
    if output.stdout.is_empty() { Ok(Vec::new()) } else { Ok(serde_json::from_slice(&output.stdout)?) }
}

/// The agents of a ledger: `KIND PID STARTTIME RUN_ID JOB_ID BOOT_MS …`.
fn agents(ledger: &str) -> anyhow::Result<Vec<Agent>> {
    let mut found: Vec<Agent> = Vec::new();
    let mut places: BTreeMap<(i32, &str), usize> = BTreeMap::new();
    for line in ledger.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, pid, start_time, run, job, at_ms, ..] = words[..] else {
            anyhow::bail!("no ledger: {line}")
        };
        let (pid, at_ms) = (pid.parse()?, at_ms.parse()?);
        if kind == "start" {
            places.insert((pid, start_time), found.len());
            let (run, job) = (run.to_owned(), job.parse()?);
            found.push(Agent { run, job, pid, start_ms: at_ms, last_ms: at_ms, double: false });
            continue;
        }
        let place = places.get(&(pid, start_time)).with_context(|| format!("no start before: {line}"))?;
        let agent = &mut found[*place];
        agent.last_ms = agent.last_ms.max(at_ms);
        agent.double |= kind == "double";
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::agents;
    use crate::history::Agent;

    #[test]
    fn the_agents_of_a_ledger_have_their_last_sign_of_life() {
        let ledger = "start 7 100 a 1 50\nstart 8 101 b 1 55\ndouble 8 101 b 1 56\nbeat 7 100 a 1 60\n\
                      end 8 101 b 1 70 0\nstart 7 900 c 2 9000\n";
        let agent = |run: &str, job, pid, start_ms, last_ms, double| Agent {
            run: run.to_owned(),
            job,
            pid,
            start_ms,
            last_ms,
            double,
        };
        assert_eq!(
            agents(ledger).unwrap(),
            [
                agent("a", 1, 7, 50, 60, false),
                agent("b", 1, 8, 55, 70, true),
                agent("c", 2, 7, 9000, 9000, false)
            ]
        );
        assert!(agents("beat 7 100 a 1 60").is_err());
    }
}
