//! Recorded webhooks against a real database: what each is answered and how many jobs it makes.
//!
//! The recordings lie beside the workspace; without them these tests say so and pass.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Ingest, Reply, fixtures, headers_of};

fn config(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("orch.toml")).unwrap()
}

/// The rows of a table, each by column name.
fn table(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
    lines
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            names.iter().map(|name| (*name).to_owned()).zip(line.split('\t').map(str::to_owned)).collect()
        })
        .collect()
}

/// The bodies are JSON but for one form.
fn body_of(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(format!("{file}.json")))
        .or_else(|_| std::fs::read(folder.join(format!("{file}.form"))))
        .unwrap()
}

async fn good(folder: &Path, fresh_each: bool) -> Vec<String> {
    let config = config(folder);
    let mut wrong = Vec::new();
    let mut shared = Ingest::start(&config).await;
    for row in table(&folder.join("EXPECT-good.tsv")) {
        if fresh_each {
            let last = std::mem::replace(&mut shared, Ingest::start(&config).await);
            last.stop().await;
        }
        let (kind, file) = (&row["kind"], &row["file"]);
        let headers = headers_of(&folder.join(kind).join(format!("{file}.headers")));
        let body = body_of(&folder.join(kind), file);
        let before = shared.jobs().await.len();
        let reply = shared.post(&format!("/webhooks/{kind}"), &headers, &body).await;
        let made = shared.jobs().await.len() - before;
        let expected_jobs = usize::from(row["decision"] == "enqueued");
        if reply.status.to_string() != row["status"]
            || reply.decision() != row["decision"]
            || made != expected_jobs
        {
            wrong.push(format!("{kind}/{file}: {reply:?}, {made} jobs, expected {row:?}"));
        }
        let again = shared.post(&format!("/webhooks/{kind}"), &headers, &body).await;
        if row["decision"] == "enqueued" && (again.status, again.decision()) != (200, "duplicate") {
            wrong.push(format!("{kind}/{file} again: {again:?}"));
        }
        if row["decision"] == "enqueued" && again.body["job_ids"] != reply.body["job_ids"] {
            wrong.push(format!("{kind}/{file} names other jobs the second time: {again:?}"));
        }
    }
    shared.stop().await;
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn good_webhooks_each_on_an_empty_database() {
    let Some(folder) = fixtures() else { return };
    assert_eq!(good(&folder, true).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn good_webhooks_one_after_the_other() {
    let Some(folder) = fixtures() else { return };
    assert_eq!(good(&folder, false).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_webhooks() {
    let Some(folder) = fixtures() else { return };
    let config = config(&folder);
    let mut wrong = Vec::new();
    let mut ingest = Ingest::start(&config).await;
    for row in table(&folder.join("bad/EXPECT.tsv")) {
        let file = &row["file"];
        if file.strip_suffix(".body").is_none() {
            continue;
        }
        // The one sequence of the table: a delivery, and what repeats it.
        let in_sequence = ["g32", "g33", "g34"].iter().any(|name| file.starts_with(name));
        if !in_sequence {
            let last = std::mem::replace(&mut ingest, Ingest::start(&config).await);
            last.stop().await;
        }
        let headers = headers_of(&folder.join("bad").join(&row["headers_file"]));
        let body = std::fs::read(folder.join("bad").join(file)).unwrap();
        let before = ingest.jobs().await.len();
        let reply: Reply = ingest.post(&format!("/webhooks/{}", row["endpoint"]), &headers, &body).await;
        let made = ingest.jobs().await.len() - before;
        if reply.status.to_string() != row["expected_status"] || made.to_string() != row["jobs"] {
            wrong.push(format!("{file}: {reply:?}, {made} jobs, expected {row:?}"));
        }
    }
    ingest.stop().await;
    assert_eq!(wrong, Vec::<String>::new());
}
