//! `orch audit`.

use clap::Args;
use domain::Timestamp;
use proto::v1;

use super::SchedulerAccess;
use crate::exit::Failure;
use crate::print::{Cell, Output, table, when};

/// Which entries `orch audit` shows.
#[derive(Args, Clone, Debug)]
#[group(skip)] // its name is the command's too
pub(crate) struct List {
    /// Only what was done to this: a job's id, a work item's key, a runner, an account
    subject: Option<String>,
    /// At most this many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only entries with ids below this, for the next page
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
}

/// `orch audit`.
pub(crate) async fn list(
    access: &SchedulerAccess,
    list: List,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let admin = access.open()?;
    let request = v1::ListAuditRequest { before: list.before, limit: list.limit, subject: list.subject };
    let reply = admin.ask(admin.client().list_audit(request)).await?;
    output.show(&reply, |_| entries_table(&reply.entries, now))
}

fn entries_table(entries: &[v1::AuditEntry], now: Timestamp) -> String {
    let rows = entries.iter().map(|entry| {
        let from = entry.origin.as_ref().map(|origin| format!("{} {origin}", entry.via));
        let note = entry.note.clone().unwrap_or_default();
        vec![
            Cell::from(entry.id.to_string()),
            Cell::from(when(&entry.at, now)),
            Cell::from(&entry.by),
            Cell::from(from.unwrap_or_else(|| entry.via.clone())),
            Cell::from(&entry.verb),
            Cell::from(&entry.subject),
            Cell::from(&entry.result),
            Cell::from(note),
        ]
    });
    let head = ["ID", "WHEN", "WHO", "FROM", "WHAT", "OF", "RESULT", "NOTE"];
    table(&head, rows.collect(), "nobody did anything yet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_who_did_what_from_where_and_what_came_of_it() {
        let entry = v1::AuditEntry {
            id: 3,
            at: "1970-01-01T00:00:00Z".to_owned(),
            by: "ada".to_owned(),
            via: "console".to_owned(),
            origin: Some("10.1.2.3".to_owned()),
            verb: "cancel".to_owned(),
            subject: "7".to_owned(),
            result: "there is no job 7".to_owned(),
            ..v1::AuditEntry::default()
        };
        assert_eq!(
            entries_table(&[entry], Timestamp::from_ms(5_000)),
            "ID  WHEN    WHO  FROM              WHAT    OF  RESULT             NOTE\n\
             3   5s ago  ada  console 10.1.2.3  cancel  7   there is no job 7\n"
        );
    }
}
