//! What is in the database beside what is claimed.

use clap::ValueEnum;

/// The project whose jobs are claimed, and their stage.
pub(super) const PROJECT: &str = "shop";
pub(super) const STAGE: &str = "review";
/// A project of which nothing starts.
const PAUSED: &str = "asleep";

const LARGE: usize = 1_000_000;

/// Rows beside those that are claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Stock {
    /// Nothing but 1,000 ready jobs.
    #[value(name = "1k_ready")]
    Ready1k,
    /// 100,000 ready jobs, more than a measurement takes.
    #[value(name = "100k_ready")]
    Ready100k,
    /// 1,000,000 of them.
    #[value(name = "1m_ready")]
    Ready1m,
    /// 1,000 ready ones beside 1,000,000 whose time has not come.
    #[value(name = "1k_ready_1m_delayed")]
    Delayed1m,
    /// The same beside 1,000,000 that are over, each with its run.
    #[value(name = "1k_ready_1m_finished")]
    Finished1m,
    /// The same beside 1,000,000 that are due in a project that an operator paused.
    #[value(name = "1k_ready_1m_paused")]
    Paused1m,
}

impl Stock {
    pub(super) const ALL: [Self; 6] =
        [Self::Ready1k, Self::Ready100k, Self::Ready1m, Self::Delayed1m, Self::Finished1m, Self::Paused1m];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ready1k => "1k_ready",
            Self::Ready100k => "100k_ready",
            Self::Ready1m => "1m_ready",
            Self::Delayed1m => "1k_ready_1m_delayed",
            Self::Finished1m => "1k_ready_1m_finished",
            Self::Paused1m => "1k_ready_1m_paused",
        }
    }

    /// Whether each window brings its own ready jobs.
    pub(super) const fn is_refilled(self) -> bool {
        match self {
            Self::Ready1k | Self::Delayed1m | Self::Finished1m | Self::Paused1m => true,
            Self::Ready100k | Self::Ready1m => false,
        }
    }

    pub(super) fn sql(self) -> String {
        self.rows(SQLITE)
    }

    pub(super) fn postgres_sql(self) -> String {
        format!("{}; ANALYZE", self.rows(POSTGRES))
    }

    fn rows(self, dialect: Dialect) -> String {
        match self {
            Self::Ready1k => String::new(),
            Self::Ready100k => jobs(dialect, PROJECT, LARGE / 10, Row::Ready),
            Self::Ready1m => jobs(dialect, PROJECT, LARGE, Row::Ready),
            Self::Delayed1m => jobs(dialect, PROJECT, LARGE, Row::Delayed),
            Self::Finished1m => {
                let jobs = jobs(dialect, PROJECT, LARGE, Row::Done);
                format!("{jobs}; {}", runs(dialect))
            }
            Self::Paused1m => {
                let jobs = jobs(dialect, PAUSED, LARGE, Row::Ready);
                format!(
                    "{jobs}; INSERT INTO paused_parts (scope, name, since) VALUES ('project', '{PAUSED}', 1)"
                )
            }
        }
    }
}

/// More ready jobs.
pub(super) fn ready(count: usize) -> String {
    jobs(SQLITE, PROJECT, count, Row::Ready)
}

/// The same for PostgreSQL.
pub(super) fn ready_in_postgres(count: usize) -> String {
    jobs(POSTGRES, PROJECT, count, Row::Ready)
}

#[derive(Clone, Copy)]
enum Row {
    Ready,
    Delayed,
    Done,
}

/// How a database counts, and what it calls some values.
#[derive(Clone, Copy)]
struct Dialect {
    /// `n` from 1 to a number, as a table.
    numbers: fn(usize) -> String,
    now_ms: &'static str,
    no: &'static str,
    yes: &'static str,
    /// The id of the `n`th new job; SQLite finds its own.
    id: Option<&'static str>,
    /// What else is to be written when ids were given.
    after: &'static str,
    /// A run's id, by its job's.
    run: &'static str,
}

const SQLITE: Dialect = Dialect {
    numbers: |count| {
        format!(
            "(WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count}) SELECT n FROM n)"
        )
    },
    now_ms: "unixepoch() * 1000",
    no: "0",
    yes: "1",
    id: None,
    after: "",
    run: "printf('01900000-0000-7000-8000-%012d', id)",
};

const POSTGRES: Dialect = Dialect {
    numbers: |count| format!("(SELECT n FROM generate_series(1, {count}) AS n) AS n"),
    now_ms: "(extract(epoch FROM now()) * 1000)::bigint",
    no: "false",
    yes: "true",
    id: Some("(SELECT newest FROM job_numbers) + n"),
    after: "; UPDATE job_numbers SET newest = (SELECT max(id) FROM jobs)",
    run: "'01900000-0000-7000-8000-' || lpad(id::text, 12, '0')",
};

fn jobs(dialect: Dialect, project: &str, count: usize, row: Row) -> String {
    let Dialect { now_ms, no, yes, id, after, .. } = dialect;
    let (status, due, at, epoch, finished_at) = match row {
        Row::Ready => ("queued", yes, "- 60000", 0, "NULL"),
        Row::Delayed => ("queued", no, "+ 86400000", 0, "NULL"),
        Row::Done => ("done", no, "- 60000", 1, now_ms),
    };
    let (id_column, id) = id.map_or((String::new(), String::new()), |id| ("id, ".into(), format!("{id}, ")));
    format!(
        "INSERT INTO jobs ({id_column}project, work_item, stage, role, priority, own_prompt, status, due, available_at, epoch, finished_at,
                           chain, created_at, updated_at)
         SELECT {id}'{project}', 'SHOP-' || n, '{STAGE}', 'reviewer', 0, {no}, '{status}', {due}, {now_ms} {at}, {epoch}, {finished_at},
                'chain-' || n, {now_ms}, {now_ms}
         FROM {numbers}{after}",
        numbers = (dialect.numbers)(count),
    )
}

/// An ended run of every job.
fn runs(dialect: Dialect) -> String {
    let Dialect { now_ms, run, .. } = dialect;
    format!(
        "INSERT INTO runs (id, job_id, epoch, node, incarnation, account, state, offered_at, started_at, ended_at, class, reason)
         SELECT {run}, id, 1, 'node-a', 1, 'default', 'ended', {now_ms}, {now_ms}, {now_ms}, 'success', 'none' FROM jobs"
    )
}
