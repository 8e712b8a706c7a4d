-- Times are integer UTC milliseconds. Every rule that one row can show is a CHECK here, so that no program,
-- ours or a person's, can write a row that breaks it.

CREATE TABLE meta (
    id                  INTEGER PRIMARY KEY CHECK (id = 1),
    schema              INTEGER NOT NULL CHECK (schema >= 0),
    database_generation INTEGER NOT NULL CHECK (database_generation >= 1),
    paused              INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    paused_changed_at   INTEGER,
    -- The generation that a scheduler last claimed under. Another one now: the database was restored or moved since,
    -- and agents of before may live until their lease is over.
    noted_generation    INTEGER,
    -- What any further job waits for, as the last claim found it: [reason, until].
    fleet_waits         TEXT CHECK (json_valid(fleet_waits)),
    -- What is wrong with the scheduler's orch.toml as it is now, while it goes on with an older one.
    config_error        TEXT CHECK (config_error <> ''),
    -- What the tokens of runs are made of, drawn once; whoever has a run's token speaks for it.
    run_secret          TEXT    NOT NULL DEFAULT (lower(hex(randomblob(32)))) CHECK (length(run_secret) = 64)
) STRICT;

INSERT INTO meta (id, schema, database_generation) VALUES (1, 0, 1);

-- One webhook request. job_ids is a JSON array: a delivery may make several jobs, a duplicate names the first one's.
CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    source      TEXT    NOT NULL CHECK (source <> ''),
    delivery_id TEXT    NOT NULL CHECK (delivery_id <> ''),
    event       TEXT    NOT NULL,
    body_sha256 TEXT    NOT NULL CHECK (length(body_sha256) = 64),
    decision    TEXT    NOT NULL CHECK (decision IN ('enqueued', 'duplicate', 'ignored')),
    job_ids     TEXT    NOT NULL CHECK (json_valid(job_ids) AND (decision = 'ignored') = (job_ids = '[]')),
    received_at INTEGER NOT NULL,
    UNIQUE (source, delivery_id)
) STRICT;

CREATE UNIQUE INDEX deliveries_body ON deliveries (source, event, body_sha256) WHERE decision = 'enqueued';

CREATE TABLE jobs (
    id                  INTEGER PRIMARY KEY AUTOINCREMENT,
    project             TEXT    NOT NULL,
    work_item           TEXT    NOT NULL,
    stage               TEXT    NOT NULL,
    role                TEXT    NOT NULL,
    priority            INTEGER NOT NULL,
    -- 1 where its payload brings the prompt, so that its stage's template is not needed.
    own_prompt          INTEGER NOT NULL CHECK (own_prompt IN (0, 1)),
    status              TEXT    NOT NULL CHECK (status IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    -- 1 once available_at has passed: what the claim reads. Set at the write, else by the claim's promotion.
    due                 INTEGER NOT NULL CHECK (due IN (0, 1)),
    available_at        INTEGER NOT NULL,
    attempts            INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    transient_attempts  INTEGER NOT NULL DEFAULT 0 CHECK (transient_attempts >= 0),
    infra_attempts      INTEGER NOT NULL DEFAULT 0 CHECK (infra_attempts >= 0),
    epoch               INTEGER NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    revision            INTEGER NOT NULL DEFAULT 0 CHECK (revision >= 0),
    run_id              TEXT REFERENCES runs (id) DEFERRABLE INITIALLY DEFERRED,
    cancel_requested_at INTEGER,
    finished_at         INTEGER,
    failure_reason      TEXT,
    semantic_key        TEXT CHECK (semantic_key <> ''),
    trace_context       TEXT,
    kind                TEXT    NOT NULL DEFAULT 'stage' CHECK (kind IN ('stage', 'reformat')),
    -- Why it exists: the job whose end it follows from, the webhook its chain began with, and how long the chain is.
    parent_job          INTEGER,
    delivery            TEXT CHECK (delivery <> ''),
    hops                INTEGER NOT NULL DEFAULT 0 CHECK (hops >= 0),
    -- What that chain began with; its runs are counted together.
    chain               TEXT    NOT NULL DEFAULT '',
    head                TEXT CHECK (length(head) IN (40, 64)),
    -- The queued job for an older commit whose place it took.
    replaces            INTEGER,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,

    CONSTRAINT i1_a_queued_job_owns_nothing
        CHECK (status <> 'queued' OR (run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL)),
    CONSTRAINT i2_a_running_job_has_a_run
        CHECK ((status = 'running') = (run_id IS NOT NULL)),
    CONSTRAINT a_running_job_was_claimed
        CHECK (status <> 'running' OR epoch >= 1),
    CONSTRAINT only_a_running_job_waits_for_its_end
        CHECK (status = 'running' OR cancel_requested_at IS NULL),
    CONSTRAINT only_a_queued_job_is_due
        CHECK (status = 'queued' OR due = 0),
    CONSTRAINT a_finished_job_says_when
        CHECK ((status IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT a_failed_job_says_why
        CHECK ((status = 'failed') = (failure_reason IS NOT NULL))
) STRICT;

CREATE UNIQUE INDEX jobs_semantic_key ON jobs (semantic_key) WHERE semantic_key IS NOT NULL;
-- What the claim reads, in the order it wants it; delayed, running and finished rows are not in it. Nor are rows that
-- break an invariant, which get past the CHECKs when a file is imported, restored, or written with them switched off:
-- one of them never stands in the way of the others.
CREATE INDEX jobs_due ON jobs (project, priority DESC, available_at, id, stage, work_item, own_prompt)
    WHERE status = 'queued' AND due = 1
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL;
-- What the promotion reads.
CREATE INDEX jobs_delayed ON jobs (available_at, id)
    WHERE status = 'queued' AND due = 0
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL;
-- Jobs that a limit put off: one of them may be the probe of a half-open breaker, before its time.
CREATE INDEX jobs_put_off ON jobs (available_at, id)
    WHERE status = 'queued' AND due = 0 AND transient_attempts > 0
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL;
-- Empty, unless somebody forced a row. The word for word same condition is in sanitize_suspects.sql.
CREATE INDEX jobs_impossible ON jobs (id)
    WHERE ((status = 'queued'
            AND (run_id IS NOT NULL OR cancel_requested_at IS NOT NULL OR finished_at IS NOT NULL
                 OR failure_reason IS NOT NULL))
        OR (status = 'running' AND run_id IS NULL)
        OR (status IN ('done', 'failed', 'cancelled')
            AND (run_id IS NOT NULL OR cancel_requested_at IS NOT NULL OR finished_at IS NULL OR due = 1
                 OR (status = 'failed') <> (failure_reason IS NOT NULL))));
-- Running jobs by their run: a run belongs to one job, and inserting a run need not read all jobs for the reference.
CREATE UNIQUE INDEX jobs_run ON jobs (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX jobs_status ON jobs (status, id);
-- Running jobs that were asked to end.
CREATE INDEX jobs_to_end ON jobs (id) WHERE cancel_requested_at IS NOT NULL;
-- What may be forgotten, the oldest end first.
CREATE INDEX jobs_finished ON jobs (finished_at, id) WHERE finished_at IS NOT NULL;
-- What is not over of a work item.
CREATE INDEX jobs_unfinished ON jobs (project, work_item, id) WHERE status IN ('queued', 'running');
-- What a newer commit replaces.
CREATE INDEX jobs_of_a_head ON jobs (project, work_item, stage) WHERE status = 'queued' AND head IS NOT NULL;

-- Further keys of jobs: of causes that joined one that was not over, and so made none of their own.
CREATE TABLE joined_keys (
    semantic_key TEXT PRIMARY KEY CHECK (semantic_key <> ''),
    job_id       INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX joined_keys_of_job ON joined_keys (job_id);

-- The keys of jobs that are forgotten: a repeat of what they were made for is still one.
CREATE TABLE spent_keys (
    semantic_key TEXT PRIMARY KEY CHECK (semantic_key <> ''),
    job_id       INTEGER NOT NULL,
    -- When the job ended.
    spent_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_keys_at ON spent_keys (spent_at);

-- What is oldest of what waits for a stage.
CREATE INDEX jobs_waiting_for_a_stage ON jobs (project, stage, created_at) WHERE status = 'queued';
-- What followed from a job's end.
CREATE INDEX jobs_of_a_parent ON jobs (parent_job, id) WHERE parent_job IS NOT NULL;

-- How many jobs there are: kept by the triggers below in the transaction of whatever writes a job, so that no reader
-- counts rows. `orch doctor` compares it with them.
CREATE TABLE job_counts (
    project TEXT    NOT NULL,
    stage   TEXT    NOT NULL,
    status  TEXT    NOT NULL,
    due     INTEGER NOT NULL,
    jobs    INTEGER NOT NULL,
    PRIMARY KEY (project, stage, status, due)
) STRICT, WITHOUT ROWID;

-- How many finished jobs are forgotten: they count on where people look.
CREATE TABLE forgotten_jobs (
    project TEXT    NOT NULL,
    stage   TEXT    NOT NULL,
    status  TEXT    NOT NULL,
    jobs    INTEGER NOT NULL,
    PRIMARY KEY (project, stage, status)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_count_new AFTER INSERT ON jobs BEGIN
    INSERT INTO job_counts (project, stage, status, due, jobs) VALUES (new.project, new.stage, new.status, new.due, 1)
    ON CONFLICT (project, stage, status, due) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_count_moved AFTER UPDATE OF project, stage, status, due ON jobs
WHEN (old.project, old.stage, old.status, old.due) <> (new.project, new.stage, new.status, new.due) BEGIN
    UPDATE job_counts SET jobs = jobs - 1
    WHERE project = old.project AND stage = old.stage AND status = old.status AND due = old.due;
    INSERT INTO job_counts (project, stage, status, due, jobs) VALUES (new.project, new.stage, new.status, new.due, 1)
    ON CONFLICT (project, stage, status, due) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_count_gone AFTER DELETE ON jobs BEGIN
    UPDATE job_counts SET jobs = jobs - 1
    WHERE project = old.project AND stage = old.stage AND status = old.status AND due = old.due;
END;

CREATE TABLE job_payloads (
    job_id  INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    payload TEXT NOT NULL
) STRICT;

-- The issue or pull request that jobs belong to: where it is in the pipeline, and what it waits for.
CREATE TABLE work_items (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    project    TEXT    NOT NULL,
    key        TEXT    NOT NULL CHECK (key <> ''),
    title      TEXT,
    stage      TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('active', 'waits_for_ci', 'needs_you', 'done', 'cancelled')),
    -- What it needs a person for (`domain::work_item::NeedsYou`).
    needs      TEXT CHECK (json_valid(needs)),
    -- Which tests it waits for (`domain::work_item::CiWait`).
    waits      TEXT CHECK (json_valid(waits)),
    head       TEXT CHECK (length(head) IN (40, 64)),
    -- How many times each stage sent it back.
    bounces    TEXT    NOT NULL CHECK (json_valid(bounces)),
    hops       INTEGER NOT NULL CHECK (hops >= 0),
    chain      TEXT    NOT NULL DEFAULT '',
    revision   INTEGER NOT NULL DEFAULT 0 CHECK (revision >= 0),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- Whose work it is, where a project asks for trust.
    standing   TEXT    NOT NULL DEFAULT 'trusted' CHECK (standing IN ('trusted', 'outsider', 'lifted')),
    -- Why it ended, where nobody decided that.
    ended_because TEXT,
    UNIQUE (project, key),
    CONSTRAINT an_item_that_needs_a_person_says_why CHECK ((state = 'needs_you') = (needs IS NOT NULL)),
    CONSTRAINT an_item_that_waits_for_tests_says_which CHECK ((state = 'waits_for_ci') = (waits IS NOT NULL)),
    CONSTRAINT only_an_ended_item_has_a_reason CHECK (ended_because IS NULL OR state = 'cancelled')
) STRICT;

CREATE INDEX work_items_newest ON work_items (updated_at, id);
CREATE INDEX work_items_key ON work_items (key);
-- What something outside may move. The word for word same condition is in items_waiting_outside.sql.
CREATE INDEX work_items_waiting_outside ON work_items (updated_at, id)
    WHERE state = 'waits_for_ci' OR (state = 'needs_you' AND needs ->> '$.why.why' IN ('approval', 'trust'));
CREATE INDEX work_items_open ON work_items (project, key) WHERE state IN ('active', 'waits_for_ci', 'needs_you');
CREATE INDEX work_items_ended ON work_items (updated_at, id) WHERE state IN ('done', 'cancelled');
CREATE INDEX work_items_needing ON work_items (updated_at, id) WHERE state = 'needs_you';
-- Those that some stage sent back.
CREATE INDEX work_items_bounced ON work_items (project)
    WHERE state IN ('active', 'waits_for_ci', 'needs_you') AND bounces <> '{}';

-- Other names of a work item: the pull request of an issue's branch, the issue's id, the commits of its pull request.
CREATE TABLE work_item_aliases (
    project TEXT NOT NULL,
    alias   TEXT NOT NULL CHECK (alias <> ''),
    key     TEXT NOT NULL CHECK (key <> ''),
    PRIMARY KEY (project, alias)
) STRICT, WITHOUT ROWID;

CREATE INDEX work_item_aliases_key ON work_item_aliases (project, key);

-- What was last seen of something outside (`domain::sighting`).
CREATE TABLE sightings (
    project TEXT    NOT NULL,
    subject TEXT    NOT NULL CHECK (subject <> '' AND subject = lower(subject)),
    aspect  TEXT    NOT NULL CHECK (aspect <> ''),
    value   TEXT    NOT NULL,
    words   TEXT    NOT NULL CHECK (json_valid(words)),
    -- When the sender last changed it, by the sender's clock.
    version INTEGER,
    own     INTEGER NOT NULL CHECK (own IN (0, 1)),
    teller  TEXT    NOT NULL CHECK (teller IN ('webhook', 'reconciler')),
    -- When its value last changed, by our clock.
    at      INTEGER NOT NULL,
    PRIMARY KEY (project, subject, aspect)
) STRICT, WITHOUT ROWID;

-- What may be forgotten, the oldest first; and the commits that are something's newest.
CREATE INDEX sightings_at ON sightings (at);
CREATE INDEX sightings_heads ON sightings (project, subject, value) WHERE aspect = 'head';

-- How far the reconciler read each listing of each project.
CREATE TABLE cursors (
    listing TEXT NOT NULL CHECK (listing <> ''),
    project TEXT NOT NULL CHECK (project <> ''),
    cursor  TEXT NOT NULL CHECK (json_valid(cursor)),
    PRIMARY KEY (listing, project)
) STRICT, WITHOUT ROWID;

-- What was spent, of each job, work item, chain, project and day: the sums of its runs, kept with them. Amounts of a run
-- are added as its agent reports them, and settled at its end.
CREATE TABLE spending (
    scope             TEXT    NOT NULL CHECK (scope IN ('job', 'item', 'chain', 'project', 'project_day', 'day')),
    key               TEXT    NOT NULL,
    usd_micros        INTEGER NOT NULL DEFAULT 0,
    tokens            INTEGER NOT NULL DEFAULT 0,
    runs              INTEGER NOT NULL DEFAULT 0,
    -- By how much a person raised its limit.
    raised_usd_micros INTEGER NOT NULL DEFAULT 0,
    raised_tokens     INTEGER NOT NULL DEFAULT 0,
    raised_runs       INTEGER NOT NULL DEFAULT 0,
    -- Of a work item: what was spent when it last passed a stage.
    pass_usd_micros   INTEGER NOT NULL DEFAULT 0,
    pass_tokens       INTEGER NOT NULL DEFAULT 0,
    pass_runs         INTEGER NOT NULL DEFAULT 0,
    -- The day something was last added, counted from 1970.
    touched_day       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX spending_chains ON spending (touched_day) WHERE scope = 'chain';

-- What was decided and done by somebody's word, and what of it was refused.
CREATE TABLE audit (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    by        TEXT    NOT NULL CHECK (by <> ''),
    -- Through which door: console, cli, grpc, or orch for what Orch decides by what it sees outside.
    via       TEXT    NOT NULL DEFAULT 'orch' CHECK (via <> ''),
    -- The address it came from, where there is one.
    origin    TEXT,
    verb      TEXT    NOT NULL CHECK (verb <> ''),
    -- What it was done to.
    subject   TEXT    NOT NULL DEFAULT '',
    project   TEXT,
    work_item TEXT,
    note      TEXT,
    -- done, or why it was refused.
    result    TEXT    NOT NULL DEFAULT 'done' CHECK (result <> '')
) STRICT;

-- Projects and stages of which an operator lets nothing start.
CREATE TABLE paused_parts (
    scope TEXT    NOT NULL CHECK (scope IN ('project', 'stage')),
    name  TEXT    NOT NULL CHECK (name <> ''),
    since INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

-- One row per try. The pair (job, epoch) is the fencing token and is never used twice (I4).
CREATE TABLE runs (
    id            TEXT    PRIMARY KEY NOT NULL CHECK (length(id) = 36),
    job_id        INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    epoch         INTEGER NOT NULL CHECK (epoch >= 1),
    node          TEXT    NOT NULL CHECK (node <> ''),
    incarnation   INTEGER NOT NULL,
    account       TEXT    NOT NULL CHECK (account <> ''),
    -- Which opening of the account's breaker it was claimed under, and whether it is that opening's probe.
    opening       INTEGER NOT NULL DEFAULT 0 CHECK (opening >= 0),
    probe         INTEGER NOT NULL DEFAULT 0 CHECK (probe IN (0, 1)),
    state         TEXT    NOT NULL CHECK (state IN ('offered', 'started', 'ended')),
    offered_at    INTEGER NOT NULL,
    started_at    INTEGER,
    ended_at      INTEGER,
    class         TEXT CHECK (class IN ('success', 'transient', 'permanent', 'lost', 'withdrawn', 'drained', 'cancelled')),
    reason        TEXT,
    evidence      TEXT,
    -- The conversation its agent was told to go on with.
    resumed_session TEXT CHECK (resumed_session <> ''),
    session_id    TEXT,
    cost_usd      REAL,
    turns         INTEGER CHECK (turns >= 0),
    input_tokens  INTEGER CHECK (input_tokens >= 0),
    output_tokens INTEGER CHECK (output_tokens >= 0),
    cache_read_tokens INTEGER CHECK (cache_read_tokens >= 0),
    api_retries   INTEGER NOT NULL DEFAULT 0 CHECK (api_retries >= 0),
    exit_code     INTEGER,
    tail          TEXT,
    log_bytes     INTEGER NOT NULL DEFAULT 0 CHECK (log_bytes >= 0),
    -- What became of the steps after its agent: a JSON array.
    steps         TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(steps)),
    -- What was set aside for it of the budgets, and the spent budget for whose sake its end was ordered.
    aside_usd_micros INTEGER NOT NULL DEFAULT 0 CHECK (aside_usd_micros >= 0),
    aside_tokens  INTEGER NOT NULL DEFAULT 0 CHECK (aside_tokens >= 0),
    stop          TEXT CHECK (json_valid(stop)),
    UNIQUE (job_id, epoch),

    CONSTRAINT an_offered_run_was_not_confirmed CHECK (state <> 'offered' OR started_at IS NULL),
    CONSTRAINT a_started_run_was_confirmed CHECK (state <> 'started' OR started_at IS NOT NULL),
    CONSTRAINT an_ended_run_says_when_and_why
        CHECK ((state = 'ended') = (ended_at IS NOT NULL)
           AND (state = 'ended') = (class IS NOT NULL)
           AND (state = 'ended') = (reason IS NOT NULL))
) STRICT;

-- I3: at most one live run per job. Also the list of live runs.
CREATE UNIQUE INDEX runs_live ON runs (job_id) WHERE ended_at IS NULL;
-- I8: at most one live probe per opening of an account's breaker.
CREATE UNIQUE INDEX runs_probe ON runs (account, opening) WHERE probe = 1 AND ended_at IS NULL;
CREATE INDEX runs_half_ended ON runs (job_id) WHERE (state = 'ended') <> (ended_at IS NOT NULL);

-- How runs ended, by the hour of their end in UTC milliseconds: kept by the trigger below, and not taken back when a run
-- is forgotten.
CREATE TABLE ended_runs (
    hour     INTEGER NOT NULL,
    class    TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    runs     INTEGER NOT NULL,
    cost_usd REAL    NOT NULL,
    PRIMARY KEY (hour, class, reason)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER runs_count_ended AFTER UPDATE OF ended_at ON runs
WHEN old.ended_at IS NULL AND new.ended_at IS NOT NULL BEGIN
    INSERT INTO ended_runs (hour, class, reason, runs, cost_usd)
    VALUES (new.ended_at - new.ended_at % 3600000, coalesce(new.class, ''), coalesce(new.reason, ''), 1,
            coalesce(new.cost_usd, 0.0))
    ON CONFLICT (hour, class, reason) DO UPDATE SET runs = runs + 1, cost_usd = cost_usd + excluded.cost_usd;
END;

-- How often a live run was renewed: written only where several schedulers may share the database.
CREATE TABLE leases (
    run_id   TEXT    PRIMARY KEY NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    renewals INTEGER NOT NULL CHECK (renewals >= 1)
) STRICT, WITHOUT ROWID;

-- Which session speaks for a runner, to which scheduler, and how often it was heard; likewise.
CREATE TABLE runner_sessions (
    node        TEXT    PRIMARY KEY NOT NULL CHECK (node <> ''),
    incarnation INTEGER NOT NULL,
    nonce       TEXT    NOT NULL,
    home        TEXT    NOT NULL,
    heard       INTEGER NOT NULL CHECK (heard >= 1)
) STRICT, WITHOUT ROWID;

-- Which scheduler leads what is done once for all of them; likewise. beat rises with each write, number with each holder.
CREATE TABLE scheduler_term (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    holder   TEXT    CHECK (holder <> ''),
    number   INTEGER NOT NULL CHECK (number >= 0),
    beat     INTEGER NOT NULL CHECK (beat >= 0),
    deadline INTEGER NOT NULL
) STRICT;

INSERT INTO scheduler_term (id, number, beat, deadline) VALUES (1, 0, 0, 0);

-- Reports of runs that no longer owned their job. No reference to runs: a report is kept whatever is known of its run.
CREATE TABLE late_outcomes (
    run_id      TEXT    PRIMARY KEY NOT NULL CHECK (length(run_id) = 36),
    outcome     TEXT    NOT NULL CHECK (json_valid(outcome)),
    received_at INTEGER NOT NULL
) STRICT;

CREATE INDEX late_outcomes_at ON late_outcomes (received_at);

CREATE TABLE runners (
    id                   TEXT    PRIMARY KEY NOT NULL CHECK (id <> ''),
    incarnation          INTEGER NOT NULL,
    boot_id              TEXT    NOT NULL,
    advertise_url        TEXT    NOT NULL,
    state                TEXT    NOT NULL CHECK (state IN ('ready', 'draining', 'unreachable', 'lost')),
    slots                INTEGER NOT NULL CHECK (slots >= 0),
    labels               TEXT    NOT NULL CHECK (json_valid(labels)),
    account              TEXT    NOT NULL CHECK (account <> ''),
    preflight_ok         INTEGER NOT NULL CHECK (preflight_ok IN (0, 1)),
    preflight_version    TEXT,
    preflight_checked_at INTEGER NOT NULL,
    preflight_error      TEXT,
    preflight_program    TEXT,
    preflight_note       TEXT,
    containment          TEXT    NOT NULL CHECK (json_valid(containment)),
    last_seen_at         INTEGER NOT NULL
) STRICT;

-- The operator's word that a runner's host is gone: no session of this incarnation or an older one is heard again.
CREATE TABLE lost_runners (
    id          TEXT    PRIMARY KEY NOT NULL CHECK (id <> ''),
    incarnation INTEGER NOT NULL,
    declared_at INTEGER NOT NULL
) STRICT;

CREATE TABLE accounts (
    account               TEXT    PRIMARY KEY NOT NULL CHECK (account <> ''),
    held_reason           TEXT    CHECK (held_reason IN ('auth', 'billing', 'usage_limit')),
    held_until            INTEGER,
    -- The breaker: open before open_until, half open after it, closed without one. How many probes live is counted.
    consecutive_transient INTEGER NOT NULL DEFAULT 0 CHECK (consecutive_transient >= 0),
    opening               INTEGER NOT NULL DEFAULT 0 CHECK (opening >= 0),
    open_until            INTEGER,
    -- The windows of its quota, as runs report them: a JSON array.
    windows               TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(windows)),
    updated_at            INTEGER NOT NULL,
    CONSTRAINT a_hold_has_a_reason CHECK (held_until IS NULL OR held_reason IS NOT NULL),
    CONSTRAINT an_open_breaker_has_opened CHECK (open_until IS NULL OR opening > 0)
) STRICT;

-- The account of runners that name none is there from the start.
INSERT INTO accounts (account, updated_at) VALUES ('default', 0);

-- What waits to be told to the outside, written with the fact it tells of. Rows of one sink and destination go out in
-- the order of their ids; available_at of the first pending one holds for all behind it, and is also the end of the
-- lease of whoever took them.
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    sink         TEXT    NOT NULL CHECK (sink IN ('unrouted', 'telegram', 'webhook', 'dry_run', 'plane', 'gitea')),
    destination  TEXT    NOT NULL DEFAULT '',
    key          TEXT    NOT NULL CHECK (key <> ''),
    payload      TEXT    NOT NULL CHECK (json_valid(payload)),
    pushed_at    INTEGER NOT NULL,
    available_at INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    status       TEXT    NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'set_aside')),
    settled_at   INTEGER,
    last_error   TEXT,
    UNIQUE (sink, key),
    CONSTRAINT a_settled_message_says_when CHECK ((status = 'pending') = (settled_at IS NULL)),
    CONSTRAINT a_message_set_aside_says_why CHECK (status <> 'set_aside' OR last_error IS NOT NULL)
) STRICT;

CREATE INDEX outbox_pending ON outbox (sink, destination, id) WHERE status = 'pending';
CREATE INDEX outbox_settled ON outbox (settled_at) WHERE status <> 'pending';
CREATE INDEX outbox_set_aside ON outbox (sink, id) WHERE status = 'set_aside';

-- A destination that the other side moved, such as a Telegram group that became a supergroup.
CREATE TABLE moved_destinations (
    sink        TEXT    NOT NULL CHECK (sink <> ''),
    destination TEXT    NOT NULL CHECK (destination <> ''),
    moved_to    TEXT    NOT NULL CHECK (moved_to <> ''),
    moved_at    INTEGER NOT NULL,
    PRIMARY KEY (sink, destination)
) STRICT, WITHOUT ROWID;

-- What holds at present and was told: told once, and once more when it is over, whatever restarts in between.
CREATE TABLE conditions (
    name  TEXT    PRIMARY KEY NOT NULL CHECK (name <> ''),
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When each source last delivered a webhook that was rightly signed.
CREATE TABLE sources (
    source  TEXT    PRIMARY KEY NOT NULL CHECK (source <> ''),
    last_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Why a job was not started, the last reason per job.
CREATE TABLE decisions (
    job_id     INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    reason     TEXT    NOT NULL CHECK (json_valid(reason)),
    until_at   INTEGER,
    decided_at INTEGER NOT NULL
) STRICT;

-- What the reaper did, for people. Written by the scheduler, read by whoever shows the queue.
CREATE TABLE reaper (
    id                        INTEGER PRIMARY KEY CHECK (id = 1),
    last_tick_at              INTEGER,
    -- Runs given up for lost: a lease that expired, or a node that died.
    reaped_total              INTEGER NOT NULL DEFAULT 0 CHECK (reaped_total >= 0),
    -- Rows that broke an invariant and were repaired, by kind (`domain::sanitize::Kind`).
    impossible_queued_total   INTEGER NOT NULL DEFAULT 0 CHECK (impossible_queued_total >= 0),
    impossible_running_total  INTEGER NOT NULL DEFAULT 0 CHECK (impossible_running_total >= 0),
    impossible_finished_total INTEGER NOT NULL DEFAULT 0 CHECK (impossible_finished_total >= 0),
    orphaned_runs_total       INTEGER NOT NULL DEFAULT 0 CHECK (orphaned_runs_total >= 0)
) STRICT;

INSERT INTO reaper (id) VALUES (1);
