//! Every metric there is. One that a service makes and that is not here does not compile.

use crate::Kind::{Counter, Gauge, Histogram};
use crate::Values::{Named, Of};
use crate::{Instrument, LATENCY_SECONDS, Label, WAIT_SECONDS};

const INGEST: &[&str] = &["ingest"];
const SCHEDULER: &[&str] = &["scheduler"];
const RUNNER: &[&str] = &["runner"];
const CONSOLE: &[&str] = &["console"];
const WRITERS: &[&str] = &["ingest", "scheduler"];

const SENDER: Label = Label { name: "source", values: Of(&["gitea", "plane"]) };
const ACCOUNT: Label = Label { name: "account", values: Named("the accounts of the runners") };
const PROJECT: Label = Label { name: "project", values: Named("the projects of `orch.toml`") };

/// The codes of the reasons for which a job waits, as `orch why` and the database have them.
pub const WAIT_CODES: &[&str] = &[
    "not_due",
    "paused",
    "paused_part",
    "unknown_project",
    "unknown_stage",
    "prompt",
    "concurrency_limit",
    "project_limit",
    "serial",
    "no_runner",
    "no_slot",
    "unreachable",
    "draining",
    "preflight",
    "resting",
    "containment",
    "restored",
    "account_held",
    "breaker_open",
    "probe",
    "faltering",
    "resuming",
    "quota_reserve",
    "budget_spent",
    "budget_reserved",
    "session",
    "not_looked",
];

macro_rules! catalogue {
    ($($constant:ident = ($name:literal, $kind:expr, $unit:literal, $labels:expr, $services:expr, $help:literal);)*) => {
        $(
            #[doc = $help]
            pub const $constant: Instrument = Instrument {
                name: $name, kind: $kind, unit: $unit, help: $help, labels: $labels, services: $services,
            };
        )*

        /// All of them, in the order of the page.
        pub const ALL: &[&Instrument] = &[$(&$constant),*];
    };
}

catalogue! {
    DELIVERIES = ("orch_ingest_deliveries_total", Counter, "{delivery}", &[
        SENDER,
        Label { name: "decision", values: Of(&["enqueued", "duplicate", "ignored", "refused"]) },
        Label { name: "status", values: Named("the HTTP status of the answer") },
    ], INGEST, "Webhook requests, by source, decision and status.");
    ANSWER = ("orch_ingest_answer_seconds", Histogram(LATENCY_SECONDS), "s", &[SENDER], INGEST,
        "From the head of a webhook request to its answer.");
    COMMIT = ("orch_store_commit_seconds", Histogram(LATENCY_SECONDS), "s", &[], WRITERS,
        "From the asking for a write to its durable commit.");
    WAL = ("orch_store_wal_bytes", Gauge, "By", &[], SCHEDULER,
        "Size of the database's write-ahead log.");
    DATABASE = ("orch_store_file_bytes", Gauge, "By", &[], SCHEDULER,
        "Size of the database without its write-ahead log.");

    OLDEST_READY = ("orch_queue_oldest_ready_seconds", Gauge, "s", &[], SCHEDULER,
        "Age of the oldest job that is due and waits; 0 where none does.");
    QUEUE = ("orch_queue_jobs", Gauge, "{job}", &[Label { name: "reason", values: Of(WAIT_CODES) }], SCHEDULER,
        "Queued jobs, by why they wait.");
    WAIT = ("orch_job_wait_seconds", Histogram(WAIT_SECONDS), "s", &[PROJECT], SCHEDULER,
        "From the instant at which a job was due to its claim.");
    CLAIMS = ("orch_claims_total", Counter, "{job}", &[], SCHEDULER, "Jobs claimed.");
    LIVE_RUNS = ("orch_runs_live", Gauge, "{run}",
        &[Label { name: "state", values: Of(&["offered", "started"]) }], SCHEDULER,
        "Runs that have not ended.");
    RUNS_ENDED = ("orch_runs_ended_total", Counter, "{run}", &[
        Label { name: "class", values: Of(&["success", "transient", "permanent", "lost", "drained", "cancelled"]) },
        Label { name: "reason", values: Named("the words of `orch job ID`, a few dozen") },
    ], SCHEDULER, "Runs ended, by what was concluded and why.");
    WITHDRAWN = ("orch_offers_withdrawn_total", Counter, "{run}",
        &[Label { name: "why", values: Of(&["no_capacity", "draining", "fenced", "refused", "unconfirmed", "prompt", "account", "cancel_requested", "preflight", "session_refused"]) }],
        SCHEDULER, "Offers that came to nothing; none of them is a try of the job.");
    RETRIES = ("orch_retries_total", Counter, "{job}",
        &[Label { name: "budget", values: Of(&["attempts", "transient", "infra"]) }], SCHEDULER,
        "Jobs queued again after a run, by the budget that paid for it.");
    RECOVERIES = ("orch_lease_recoveries_total", Counter, "{run}",
        &[Label { name: "how", values: Of(&["lease_expired", "self_fenced", "shim_lost", "node_lost"]) }], SCHEDULER,
        "Runs given up for lost, so that their jobs can go on elsewhere.");
    TOKENS = ("orch_tokens_total", Counter, "{token}",
        &[PROJECT, Label { name: "kind", values: Of(&["input", "cached", "output"]) }], SCHEDULER,
        "Tokens of ended runs: read afresh, read from the provider's cache, and written.");
    COST = ("orch_cost_usd_total", Counter, "{USD}", &[PROJECT], SCHEDULER, "Cost of ended runs in US dollars.");
    BREAKER = ("orch_breaker_state", Gauge, "{state}", &[ACCOUNT], SCHEDULER,
        "Breaker of an account: 0 closed, 1 open, 2 half open.");
    HELD = ("orch_account_held", Gauge, "{hold}", &[ACCOUNT], SCHEDULER,
        "Whether an account is held until a person or its reset lets it go: 1, else 0.");
    QUOTA = ("orch_quota_utilization_ratio", Gauge, "1",
        &[ACCOUNT, Label { name: "window", values: Named("the provider's words: `five_hour`, `seven_day`, …") }], SCHEDULER,
        "Share used of a quota window, 0 to 1.");
    STREAM_LAG = ("orch_stream_lag_seconds", Gauge, "s", &[], SCHEDULER,
        "Of all started runs, the longest time since the stream of its log brought anything; runners say something every 5 s.");
    LATE = ("orch_late_outcomes_total", Counter, "{run}", &[], SCHEDULER,
        "Outcomes of runs that no longer owned their job.");
    REPAIRED = ("orch_rows_repaired_total", Counter, "{row}",
        &[Label { name: "kind", values: Of(&["impossible_queued", "impossible_running", "impossible_finished", "orphaned_run"]) }],
        SCHEDULER, "Rows that broke an invariant and were repaired.");
    STALLS = ("orch_mass_expiries_total", Counter, "{tick}", &[], SCHEDULER,
        "Ticks in which so many leases ran out at once that they were spared for one more.");
    LEADS = ("orch_scheduler_leads", Gauge, "{scheduler}", &[], SCHEDULER,
        "Whether this scheduler does what is done once for all of them: 1, else 0; 1 for one of them, 0 for all only while the lead changes.");
    RUNNERS = ("orch_runners", Gauge, "{runner}",
        &[Label { name: "state", values: Of(&["ready", "draining", "unreachable", "lost"]) }], SCHEDULER,
        "Runners, by what the scheduler thinks of them.");
    ALERTS = ("orch_alerts_total", Counter, "{alert}", &[
        Label { name: "sink", values: Of(&["telegram", "webhook", "dry_run"]) },
        Label { name: "result", values: Of(&["delivered", "later", "misconfigured", "refused", "set_aside", "moved"]) },
    ], SCHEDULER, "Alerts sent to a sink, by what became of them.");
    REPORTS = ("orch_reports_total", Counter, "{report}", &[
        Label { name: "sink", values: Of(&["plane", "gitea"]) },
        Label { name: "result", values: Of(&["delivered", "later", "misconfigured", "set_aside"]) },
    ], SCHEDULER, "What the tracker and the forge were told, by what became of it.");
    OUTBOX_PENDING = ("orch_outbox_pending", Gauge, "{message}",
        &[Label { name: "sink", values: Of(&["unrouted", "telegram", "webhook", "dry_run", "plane", "gitea"]) }], SCHEDULER,
        "Messages that a sink does not have yet.");
    FORGOTTEN = ("orch_retention_forgotten_total", Counter, "{row}",
        &[Label { name: "kind", values: Of(&["jobs", "logs", "deliveries", "keys", "late_outcomes", "chains", "acts", "work_items", "hours"]) }],
        SCHEDULER, "Rows, and logs, that were over and are forgotten.");
    FORGETTING = ("orch_retention_step_seconds", Histogram(LATENCY_SECONDS), "s", &[], SCHEDULER,
        "How long one step of forgetting took; a pause of at least four times that follows.");

    SLOTS = ("orch_runner_slots", Gauge, "{slot}", &[], RUNNER, "Agents this node may run at once.");
    BUSY_SLOTS = ("orch_runner_busy_slots", Gauge, "{slot}", &[], RUNNER, "Slots that are taken.");
    HELD_RUNS = ("orch_runner_held_runs", Gauge, "{run}", &[], RUNNER,
        "Runs held, unacknowledged outcomes included.");
    PREFLIGHT = ("orch_runner_preflight", Gauge, "{check}", &[], RUNNER,
        "Whether the agent's program answered when it was last asked: 1, else 0.");
    UNREAD = ("orch_runner_unread_bytes", Gauge, "By", &[], RUNNER,
        "Output of live runs that the scheduler has not been sent yet.");
    WORKSPACES = ("orch_runner_workspace_bytes", Gauge, "By", &[], RUNNER,
        "What workspaces, their clones and the HOMEs of agents take.");

    REQUESTS = ("orch_console_requests_total", Counter, "{request}", &[
        Label { name: "route", values: Named("the routes of the console; `none` for anything else") },
        Label { name: "status", values: Named("the HTTP status of the answer") },
    ], CONSOLE, "Answers of the console.");
}
