-- The same tables and rules as SQLite's. Times are integer UTC milliseconds; text compares byte by byte, whatever the
-- database's locale. Every rule that one row can show is a CHECK here, so that no program,
-- ours or a person's, can write a row that breaks it.

CREATE TABLE meta (
    id                  BIGINT PRIMARY KEY CHECK (id = 1),
    schema              BIGINT NOT NULL CHECK (schema >= 0),
    database_generation BIGINT NOT NULL CHECK (database_generation >= 1),
    paused              BOOLEAN NOT NULL DEFAULT false,
    paused_changed_at   BIGINT,
    -- The generation that a scheduler last claimed under. Another one now: the database was restored or moved since,
    -- and agents of before may live until their lease is over.
    noted_generation    BIGINT,
    -- What any further job waits for, as the last claim found it: [reason, until].
    fleet_waits         TEXT COLLATE "C" CHECK (fleet_waits IS NULL OR fleet_waits::json IS NOT NULL),
    -- What is wrong with the scheduler's orch.toml as it is now, while it goes on with an older one.
    config_error        TEXT COLLATE "C" CHECK (config_error <> ''),
    -- What the tokens of runs are made of, drawn once; whoever has a run's token speaks for it.
    run_secret          TEXT COLLATE "C" NOT NULL CHECK (length(run_secret) = 64)
        DEFAULT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

INSERT INTO meta (id, schema, database_generation) VALUES (1, 0, 1);

-- One webhook request. job_ids is a JSON array: a delivery may make several jobs, a duplicate names the first one's.
CREATE TABLE deliveries (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      TEXT COLLATE "C" NOT NULL CHECK (source <> ''),
    delivery_id TEXT COLLATE "C" NOT NULL CHECK (delivery_id <> ''),
    event       TEXT COLLATE "C" NOT NULL,
    body_sha256 TEXT COLLATE "C" NOT NULL CHECK (length(body_sha256) = 64),
    decision    TEXT COLLATE "C" NOT NULL CHECK (decision IN ('enqueued', 'duplicate', 'ignored')),
    job_ids     TEXT COLLATE "C" NOT NULL CHECK (job_ids::json IS NOT NULL AND (decision = 'ignored') = (job_ids = '[]')),
    received_at BIGINT NOT NULL,
    UNIQUE (source, delivery_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05);

CREATE UNIQUE INDEX deliveries_body ON deliveries (source, event, body_sha256) WHERE decision = 'enqueued';

-- The number of the newest job. None is given twice, whatever is deleted; those who make jobs take turns here.
CREATE TABLE job_numbers (
    id     BIGINT PRIMARY KEY CHECK (id = 1),
    newest BIGINT NOT NULL CHECK (newest >= 0)
) WITH (fillfactor = 10);

INSERT INTO job_numbers (id, newest) VALUES (1, 0);

-- Proof that a batch was written, for a process that heard no answer to its COMMIT; FALSE: it was not, and never will be.
CREATE TABLE marks (
    lane   TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    is_set BOOLEAN NOT NULL,
    set_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (lane, number)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_insert_threshold = -1);

CREATE TABLE jobs (
    id                  BIGINT PRIMARY KEY,
    project             TEXT COLLATE "C" NOT NULL,
    work_item           TEXT COLLATE "C" NOT NULL,
    stage               TEXT COLLATE "C" NOT NULL,
    role                TEXT COLLATE "C" NOT NULL,
    priority            BIGINT NOT NULL,
    -- True where its payload brings the prompt, so that its stage's template is not needed.
    own_prompt          BOOLEAN NOT NULL,
    status              TEXT COLLATE "C" NOT NULL CHECK (status IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    -- True once available_at has passed: what the claim reads. Set at the write, else by the claim's promotion.
    due                 BOOLEAN NOT NULL,
    available_at        BIGINT NOT NULL,
    attempts            BIGINT NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    transient_attempts  BIGINT NOT NULL DEFAULT 0 CHECK (transient_attempts >= 0),
    infra_attempts      BIGINT NOT NULL DEFAULT 0 CHECK (infra_attempts >= 0),
    epoch               BIGINT NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    revision            BIGINT NOT NULL DEFAULT 0 CHECK (revision >= 0),
    run_id              TEXT COLLATE "C",
    cancel_requested_at BIGINT,
    finished_at         BIGINT,
    failure_reason      TEXT COLLATE "C",
    semantic_key        TEXT COLLATE "C" CHECK (semantic_key <> ''),
    trace_context       TEXT COLLATE "C",
    kind                TEXT COLLATE "C" NOT NULL DEFAULT 'stage' CHECK (kind IN ('stage', 'reformat')),
    -- Why it exists: the job whose end it follows from, the webhook its chain began with, and how long the chain is.
    parent_job          BIGINT,
    delivery            TEXT COLLATE "C" CHECK (delivery <> ''),
    hops                BIGINT NOT NULL DEFAULT 0 CHECK (hops >= 0),
    -- What that chain began with; its runs are counted together.
    chain               TEXT COLLATE "C" NOT NULL DEFAULT '',
    head                TEXT COLLATE "C" CHECK (length(head) IN (40, 64)),
    -- The queued job for an older commit whose place it took.
    replaces            BIGINT,
    created_at          BIGINT NOT NULL,
    updated_at          BIGINT NOT NULL,

    CONSTRAINT i1_a_queued_job_owns_nothing
        CHECK (status <> 'queued' OR (run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL)),
    CONSTRAINT i2_a_running_job_has_a_run
        CHECK ((status = 'running') = (run_id IS NOT NULL)),
    CONSTRAINT a_running_job_was_claimed
        CHECK (status <> 'running' OR epoch >= 1),
    CONSTRAINT only_a_running_job_waits_for_its_end
        CHECK (status = 'running' OR cancel_requested_at IS NULL),
    CONSTRAINT only_a_queued_job_is_due
        CHECK (status = 'queued' OR NOT due),
    CONSTRAINT a_finished_job_says_when
        CHECK ((status IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT a_failed_job_says_why
        CHECK ((status = 'failed') = (failure_reason IS NOT NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05);

CREATE UNIQUE INDEX jobs_semantic_key ON jobs (semantic_key) WHERE semantic_key IS NOT NULL;
-- What the claim reads, in the order it wants it; delayed, running and finished rows are not in it. Nor are rows that
-- break an invariant, which get past the CHECKs when a file is imported, restored, or written with them switched off:
-- one of them never stands in the way of the others.
CREATE INDEX jobs_due ON jobs (project, priority DESC, available_at, id)
    WHERE status = 'queued' AND due
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL;
-- What the promotion reads.
CREATE INDEX jobs_delayed ON jobs (available_at, id)
    WHERE status = 'queued' AND NOT due
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL;
-- Jobs that a limit put off: one of them may be the probe of a half-open breaker, before its time.
CREATE INDEX jobs_put_off ON jobs (available_at, id)
    WHERE status = 'queued' AND NOT due AND transient_attempts > 0
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL;
-- Empty, unless somebody forced a row. The word for word same condition is in sanitize_suspects.sql.
CREATE INDEX jobs_impossible ON jobs (id)
    WHERE ((status = 'queued'
            AND (run_id IS NOT NULL OR cancel_requested_at IS NOT NULL OR finished_at IS NOT NULL
                 OR failure_reason IS NOT NULL))
        OR (status = 'running' AND run_id IS NULL)
        OR (status IN ('done', 'failed', 'cancelled')
            AND (run_id IS NOT NULL OR cancel_requested_at IS NOT NULL OR finished_at IS NULL OR due
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
CREATE INDEX jobs_waiting_for_a_stage ON jobs (project, stage, created_at) WHERE status = 'queued';
CREATE INDEX jobs_of_a_parent ON jobs (parent_job, id) WHERE parent_job IS NOT NULL;

-- Further keys of jobs: of causes that joined one that was not over, and so made none of their own.
CREATE TABLE joined_keys (
    semantic_key TEXT COLLATE "C" PRIMARY KEY CHECK (semantic_key <> ''),
    job_id       BIGINT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX joined_keys_of_job ON joined_keys (job_id);

-- The keys of jobs that are forgotten: a repeat of what they were made for is still one.
CREATE TABLE spent_keys (
    semantic_key TEXT COLLATE "C" PRIMARY KEY CHECK (semantic_key <> ''),
    job_id       BIGINT NOT NULL,
    -- When the job ended.
    spent_at     BIGINT NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX spent_keys_at ON spent_keys (spent_at);

-- How many jobs there are, so that no reader counts rows: what is folded, and what changed since. Whoever writes jobs
-- adds a row for each statement and waits for nobody; whoever leads folds them. The sum of both is exact at any instant.
CREATE TABLE job_counts (
    project TEXT COLLATE "C" NOT NULL,
    stage   TEXT COLLATE "C" NOT NULL,
    status  TEXT COLLATE "C" NOT NULL,
    due     BOOLEAN NOT NULL,
    jobs    BIGINT NOT NULL,
    PRIMARY KEY (project, stage, status, due)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

CREATE TABLE job_count_changes (
    project TEXT COLLATE "C" NOT NULL,
    stage   TEXT COLLATE "C" NOT NULL,
    status  TEXT COLLATE "C" NOT NULL,
    due     BOOLEAN NOT NULL,
    jobs    BIGINT NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_insert_threshold = -1);

CREATE FUNCTION count_new_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count_changes (project, stage, status, due, jobs)
    SELECT project, stage, status, due, count(*) FROM after GROUP BY project, stage, status, due;
    RETURN NULL;
END $$;

CREATE FUNCTION count_moved_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count_changes (project, stage, status, due, jobs)
    SELECT project, stage, status, due, sum(jobs)
    FROM (SELECT project, stage, status, due, 1 AS jobs FROM after
          UNION ALL SELECT project, stage, status, due, -1 FROM before) AS moved
    GROUP BY project, stage, status, due HAVING sum(jobs) <> 0;
    RETURN NULL;
END $$;

CREATE FUNCTION count_gone_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count_changes (project, stage, status, due, jobs)
    SELECT project, stage, status, due, -count(*) FROM before GROUP BY project, stage, status, due;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_count_new AFTER INSERT ON jobs
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION count_new_jobs();
CREATE TRIGGER jobs_count_moved AFTER UPDATE ON jobs
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION count_moved_jobs();
CREATE TRIGGER jobs_count_gone AFTER DELETE ON jobs
    REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION count_gone_jobs();

-- How many finished jobs are forgotten: they count on where people look.
CREATE TABLE forgotten_jobs (
    project TEXT COLLATE "C" NOT NULL,
    stage   TEXT COLLATE "C" NOT NULL,
    status  TEXT COLLATE "C" NOT NULL,
    jobs    BIGINT NOT NULL,
    PRIMARY KEY (project, stage, status)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

CREATE TABLE job_payloads (
    job_id  BIGINT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    payload TEXT COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.02);

-- The issue or pull request that jobs belong to: where it is in the pipeline, and what it waits for.
CREATE TABLE work_items (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project    TEXT COLLATE "C" NOT NULL,
    key        TEXT COLLATE "C" NOT NULL CHECK (key <> ''),
    title      TEXT COLLATE "C",
    stage      TEXT COLLATE "C" NOT NULL,
    state      TEXT COLLATE "C" NOT NULL CHECK (state IN ('active', 'waits_for_ci', 'needs_you', 'done', 'cancelled')),
    -- What it needs a person for (`domain::work_item::NeedsYou`).
    needs      TEXT COLLATE "C" CHECK (needs IS NULL OR needs::json IS NOT NULL),
    -- Which tests it waits for (`domain::work_item::CiWait`).
    waits      TEXT COLLATE "C" CHECK (waits IS NULL OR waits::json IS NOT NULL),
    head       TEXT COLLATE "C" CHECK (length(head) IN (40, 64)),
    -- How many times each stage sent it back.
    bounces    TEXT COLLATE "C" NOT NULL CHECK (bounces::json IS NOT NULL),
    hops       BIGINT NOT NULL CHECK (hops >= 0),
    chain      TEXT COLLATE "C" NOT NULL DEFAULT '',
    revision   BIGINT NOT NULL DEFAULT 0 CHECK (revision >= 0),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    -- Whose work it is, where a project asks for trust.
    standing   TEXT COLLATE "C" NOT NULL DEFAULT 'trusted' CHECK (standing IN ('trusted', 'outsider', 'lifted')),
    -- Why it ended, where nobody decided that.
    ended_because TEXT COLLATE "C",
    UNIQUE (project, key),
    CONSTRAINT an_item_that_needs_a_person_says_why CHECK ((state = 'needs_you') = (needs IS NOT NULL)),
    CONSTRAINT an_item_that_waits_for_tests_says_which CHECK ((state = 'waits_for_ci') = (waits IS NOT NULL)),
    CONSTRAINT only_an_ended_item_has_a_reason CHECK (ended_because IS NULL OR state = 'cancelled')
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05);

CREATE INDEX work_items_newest ON work_items (updated_at, id);
CREATE INDEX work_items_key ON work_items (key);
-- What something outside may move. The word for word same condition is in items_waiting_outside.sql.
CREATE INDEX work_items_waiting_outside ON work_items (updated_at, id)
    WHERE state = 'waits_for_ci' OR (state = 'needs_you' AND needs::jsonb #>> '{why,why}' IN ('approval', 'trust'));
CREATE INDEX work_items_open ON work_items (project, key) WHERE state IN ('active', 'waits_for_ci', 'needs_you');
CREATE INDEX work_items_ended ON work_items (updated_at, id) WHERE state IN ('done', 'cancelled');
CREATE INDEX work_items_needing ON work_items (updated_at, id) WHERE state = 'needs_you';
CREATE INDEX work_items_bounced ON work_items (project)
    WHERE state IN ('active', 'waits_for_ci', 'needs_you') AND bounces <> '{}';

-- Other names of a work item: the pull request of an issue's branch, the issue's id, the commits of its pull request.
CREATE TABLE work_item_aliases (
    project TEXT COLLATE "C" NOT NULL,
    alias   TEXT COLLATE "C" NOT NULL CHECK (alias <> ''),
    key     TEXT COLLATE "C" NOT NULL CHECK (key <> ''),
    PRIMARY KEY (project, alias)
);

CREATE INDEX work_item_aliases_key ON work_item_aliases (project, key);

-- What was last seen of something outside (`domain::sighting`).
CREATE TABLE sightings (
    project TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL CHECK (subject <> '' AND subject = lower(subject)),
    aspect  TEXT COLLATE "C" NOT NULL CHECK (aspect <> ''),
    value   TEXT COLLATE "C" NOT NULL,
    words   TEXT COLLATE "C" NOT NULL CHECK (words::json IS NOT NULL),
    -- When the sender last changed it, by the sender's clock.
    version BIGINT,
    own     BOOLEAN NOT NULL,
    teller  TEXT COLLATE "C" NOT NULL CHECK (teller IN ('webhook', 'reconciler')),
    -- When its value last changed, by our clock.
    at      BIGINT NOT NULL,
    PRIMARY KEY (project, subject, aspect)
);

-- What may be forgotten, the oldest first.
CREATE INDEX sightings_at ON sightings (at);

-- How far the reconciler read each listing of each project.
CREATE TABLE cursors (
    listing TEXT COLLATE "C" NOT NULL CHECK (listing <> ''),
    project TEXT COLLATE "C" NOT NULL CHECK (project <> ''),
    cursor  TEXT COLLATE "C" NOT NULL CHECK (cursor::json IS NOT NULL),
    PRIMARY KEY (listing, project)
);

-- What was spent, of each job, work item, chain, project and day: the sums of its runs, kept with them. Amounts of a run
-- are added as its agent reports them, and settled at its end.
CREATE TABLE spending (
    scope             TEXT COLLATE "C" NOT NULL CHECK (scope IN ('job', 'item', 'chain', 'project', 'project_day', 'day')),
    key               TEXT COLLATE "C" NOT NULL,
    usd_micros        BIGINT NOT NULL DEFAULT 0,
    tokens            BIGINT NOT NULL DEFAULT 0,
    runs              BIGINT NOT NULL DEFAULT 0,
    -- By how much a person raised its limit.
    raised_usd_micros BIGINT NOT NULL DEFAULT 0,
    raised_tokens     BIGINT NOT NULL DEFAULT 0,
    raised_runs       BIGINT NOT NULL DEFAULT 0,
    -- Of a work item: what was spent when it last passed a stage.
    pass_usd_micros   BIGINT NOT NULL DEFAULT 0,
    pass_tokens       BIGINT NOT NULL DEFAULT 0,
    pass_runs         BIGINT NOT NULL DEFAULT 0,
    -- The day something was last added, counted from 1970.
    touched_day       BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05);

CREATE INDEX spending_chains ON spending (touched_day) WHERE scope = 'chain';

-- What people decided.
CREATE TABLE audit (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        BIGINT NOT NULL,
    by        TEXT COLLATE "C" NOT NULL CHECK (by <> ''),
    -- Through which door: console, cli, grpc, or orch for what Orch decides by what it sees outside.
    via       TEXT COLLATE "C" NOT NULL DEFAULT 'orch' CHECK (via <> ''),
    -- The address it came from, where there is one.
    origin    TEXT COLLATE "C",
    verb      TEXT COLLATE "C" NOT NULL CHECK (verb <> ''),
    -- What it was done to.
    subject   TEXT COLLATE "C" NOT NULL DEFAULT '',
    project   TEXT COLLATE "C",
    work_item TEXT COLLATE "C",
    note      TEXT COLLATE "C",
    -- done, or why it was refused.
    result    TEXT COLLATE "C" NOT NULL DEFAULT 'done' CHECK (result <> '')
);

CREATE TABLE paused_parts (
    scope TEXT COLLATE "C" NOT NULL CHECK (scope IN ('project', 'stage')),
    name  TEXT COLLATE "C" NOT NULL CHECK (name <> ''),
    since BIGINT NOT NULL,
    PRIMARY KEY (scope, name)
);

-- One row per try. The pair (job, epoch) is the fencing token and is never used twice (I4).
CREATE TABLE runs (
    id            TEXT COLLATE "C" PRIMARY KEY NOT NULL CHECK (length(id) = 36),
    job_id        BIGINT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    epoch         BIGINT NOT NULL CHECK (epoch >= 1),
    node          TEXT COLLATE "C" NOT NULL CHECK (node <> ''),
    incarnation   BIGINT NOT NULL,
    account       TEXT COLLATE "C" NOT NULL CHECK (account <> ''),
    -- Which opening of the account's breaker it was claimed under, and whether it is that opening's probe.
    opening       BIGINT NOT NULL DEFAULT 0 CHECK (opening >= 0),
    probe         BOOLEAN NOT NULL DEFAULT false,
    state         TEXT COLLATE "C" NOT NULL CHECK (state IN ('offered', 'started', 'ended')),
    offered_at    BIGINT NOT NULL,
    started_at    BIGINT,
    ended_at      BIGINT,
    class         TEXT COLLATE "C" CHECK (class IN ('success', 'transient', 'permanent', 'lost', 'withdrawn', 'drained', 'cancelled')),
    reason        TEXT COLLATE "C",
    evidence      TEXT COLLATE "C",
    -- The conversation its agent was told to go on with.
    resumed_session TEXT COLLATE "C" CHECK (resumed_session <> ''),
    session_id    TEXT COLLATE "C",
    cost_usd      DOUBLE PRECISION,
    turns         BIGINT CHECK (turns >= 0),
    input_tokens  BIGINT CHECK (input_tokens >= 0),
    output_tokens BIGINT CHECK (output_tokens >= 0),
    cache_read_tokens BIGINT CHECK (cache_read_tokens >= 0),
    api_retries   BIGINT NOT NULL DEFAULT 0 CHECK (api_retries >= 0),
    exit_code     BIGINT,
    tail          TEXT COLLATE "C",
    log_bytes     BIGINT NOT NULL DEFAULT 0 CHECK (log_bytes >= 0),
    -- What became of the steps after its agent: a JSON array.
    steps         TEXT COLLATE "C" NOT NULL DEFAULT '[]' CHECK (steps::json IS NOT NULL),
    -- What was set aside for it of the budgets, and the spent budget for whose sake its end was ordered.
    aside_usd_micros BIGINT NOT NULL DEFAULT 0 CHECK (aside_usd_micros >= 0),
    aside_tokens  BIGINT NOT NULL DEFAULT 0 CHECK (aside_tokens >= 0),
    stop          TEXT COLLATE "C" CHECK (stop IS NULL OR stop::json IS NOT NULL),
    UNIQUE (job_id, epoch),

    CONSTRAINT an_offered_run_was_not_confirmed CHECK (state <> 'offered' OR started_at IS NULL),
    CONSTRAINT a_started_run_was_confirmed CHECK (state <> 'started' OR started_at IS NOT NULL),
    CONSTRAINT an_ended_run_says_when_and_why
        CHECK ((state = 'ended') = (ended_at IS NOT NULL)
           AND (state = 'ended') = (class IS NOT NULL)
           AND (state = 'ended') = (reason IS NOT NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05);

ALTER TABLE jobs ADD CONSTRAINT jobs_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs (id) DEFERRABLE INITIALLY DEFERRED;

-- I3: at most one live run per job. Also the list of live runs. What is asked of given jobs or runs says `ended_at + 0 IS NULL`,
-- which this index does not answer: it looks like nothing to the planner whenever the table was last analyzed while few runs
-- lived, and would be read from end to end, with what vacuum left in it, in place of the few rows.
CREATE UNIQUE INDEX runs_live ON runs (job_id) WHERE ended_at IS NULL;
-- I8: at most one live probe per opening of an account's breaker.
CREATE UNIQUE INDEX runs_probe ON runs (account, opening) WHERE probe AND ended_at IS NULL;
CREATE INDEX runs_half_ended ON runs (job_id) WHERE (state = 'ended') <> (ended_at IS NOT NULL);
CREATE INDEX runs_ended ON runs (ended_at, class, reason, cost_usd, log_bytes) WHERE ended_at IS NOT NULL;

-- How the runs of forgotten jobs ended, by the hour of their end in UTC milliseconds: counted when they are forgotten, since
-- counting every end as it comes would have every writer wait for every other. The others are counted from `runs_ended`.
CREATE TABLE ended_runs (
    hour     BIGINT NOT NULL,
    class    TEXT COLLATE "C" NOT NULL,
    reason   TEXT COLLATE "C" NOT NULL,
    runs     BIGINT NOT NULL,
    cost_usd DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (hour, class, reason)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- How often a live run was renewed: a row of its own, with room beside it, so that a renewal touches no index (HOT).
CREATE TABLE leases (
    run_id   TEXT COLLATE "C" PRIMARY KEY NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    renewals BIGINT NOT NULL CHECK (renewals >= 1)
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Which session speaks for a runner, to which scheduler, and how often it was heard: narrow, so that it stays HOT.
CREATE TABLE runner_sessions (
    node        TEXT COLLATE "C" PRIMARY KEY NOT NULL CHECK (node <> ''),
    incarnation BIGINT NOT NULL,
    nonce       TEXT COLLATE "C" NOT NULL,
    home        TEXT COLLATE "C" NOT NULL,
    heard       BIGINT NOT NULL CHECK (heard >= 1)
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Which scheduler leads what is done once for all of them; beat rises with each write, number with each holder.
CREATE TABLE scheduler_term (
    id       BIGINT PRIMARY KEY CHECK (id = 1),
    holder   TEXT COLLATE "C" CHECK (holder <> ''),
    number   BIGINT NOT NULL CHECK (number >= 0),
    beat     BIGINT NOT NULL CHECK (beat >= 0),
    deadline BIGINT NOT NULL
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

INSERT INTO scheduler_term (id, number, beat, deadline) VALUES (1, 0, 0, 0);

-- Reports of runs that no longer owned their job. No reference to runs: a report is kept whatever is known of its run.
CREATE TABLE late_outcomes (
    run_id      TEXT COLLATE "C" PRIMARY KEY NOT NULL CHECK (length(run_id) = 36),
    outcome     TEXT COLLATE "C" NOT NULL CHECK (outcome::json IS NOT NULL),
    received_at BIGINT NOT NULL
);

CREATE INDEX late_outcomes_at ON late_outcomes (received_at);

CREATE TABLE runners (
    id                   TEXT COLLATE "C" PRIMARY KEY NOT NULL CHECK (id <> ''),
    incarnation          BIGINT NOT NULL,
    boot_id              TEXT COLLATE "C" NOT NULL,
    advertise_url        TEXT COLLATE "C" NOT NULL,
    state                TEXT COLLATE "C" NOT NULL CHECK (state IN ('ready', 'draining', 'unreachable', 'lost')),
    slots                BIGINT NOT NULL CHECK (slots >= 0),
    labels               TEXT COLLATE "C" NOT NULL CHECK (labels::json IS NOT NULL),
    account              TEXT COLLATE "C" NOT NULL CHECK (account <> ''),
    preflight_ok         BOOLEAN NOT NULL,
    preflight_version    TEXT COLLATE "C",
    preflight_checked_at BIGINT NOT NULL,
    preflight_error      TEXT COLLATE "C",
    preflight_program    TEXT COLLATE "C",
    preflight_note       TEXT COLLATE "C",
    containment          TEXT COLLATE "C" NOT NULL CHECK (containment::json IS NOT NULL),
    last_seen_at         BIGINT NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- The operator's word that a runner's host is gone: no session of this incarnation or an older one is heard again.
CREATE TABLE lost_runners (
    id          TEXT COLLATE "C" PRIMARY KEY NOT NULL CHECK (id <> ''),
    incarnation BIGINT NOT NULL,
    declared_at BIGINT NOT NULL
);

CREATE TABLE accounts (
    account               TEXT COLLATE "C" PRIMARY KEY NOT NULL CHECK (account <> ''),
    held_reason           TEXT COLLATE "C" CHECK (held_reason IN ('auth', 'billing', 'usage_limit')),
    held_until            BIGINT,
    -- The breaker: open before open_until, half open after it, closed without one. How many probes live is counted.
    consecutive_transient BIGINT NOT NULL DEFAULT 0 CHECK (consecutive_transient >= 0),
    opening               BIGINT NOT NULL DEFAULT 0 CHECK (opening >= 0),
    open_until            BIGINT,
    -- The windows of its quota, as runs report them: a JSON array.
    windows               TEXT COLLATE "C" NOT NULL DEFAULT '[]' CHECK (windows::json IS NOT NULL),
    updated_at            BIGINT NOT NULL,
    CONSTRAINT a_hold_has_a_reason CHECK (held_until IS NULL OR held_reason IS NOT NULL),
    CONSTRAINT an_open_breaker_has_opened CHECK (open_until IS NULL OR opening > 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- The account of runners that name none is there from the start.
INSERT INTO accounts (account, updated_at) VALUES ('default', 0);

-- What waits to be told to the outside, written with the fact it tells of. Rows of one sink and destination go out in
-- the order of their ids; available_at of the first pending one holds for all behind it, and is also the end of the
-- lease of whoever took them.
CREATE TABLE outbox (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sink         TEXT COLLATE "C" NOT NULL CHECK (sink IN ('unrouted', 'telegram', 'webhook', 'dry_run', 'plane', 'gitea')),
    destination  TEXT COLLATE "C" NOT NULL DEFAULT '',
    key          TEXT COLLATE "C" NOT NULL CHECK (key <> ''),
    payload      TEXT COLLATE "C" NOT NULL CHECK (payload::json IS NOT NULL),
    pushed_at    BIGINT NOT NULL,
    available_at BIGINT NOT NULL,
    attempts     BIGINT NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    status       TEXT COLLATE "C" NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'set_aside')),
    settled_at   BIGINT,
    last_error   TEXT COLLATE "C",
    UNIQUE (sink, key),
    CONSTRAINT a_settled_message_says_when CHECK ((status = 'pending') = (settled_at IS NULL)),
    CONSTRAINT a_message_set_aside_says_why CHECK (status <> 'set_aside' OR last_error IS NOT NULL)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05);

CREATE INDEX outbox_pending ON outbox (sink, destination, id) WHERE status = 'pending';
CREATE INDEX outbox_settled ON outbox (settled_at) WHERE status <> 'pending';
CREATE INDEX outbox_set_aside ON outbox (sink, id) WHERE status = 'set_aside';

-- A destination that the other side moved, such as a Telegram group that became a supergroup.
CREATE TABLE moved_destinations (
    sink        TEXT COLLATE "C" NOT NULL CHECK (sink <> ''),
    destination TEXT COLLATE "C" NOT NULL CHECK (destination <> ''),
    moved_to    TEXT COLLATE "C" NOT NULL CHECK (moved_to <> ''),
    moved_at    BIGINT NOT NULL,
    PRIMARY KEY (sink, destination)
);

-- What holds at present and was told: told once, and once more when it is over, whatever restarts in between.
CREATE TABLE conditions (
    name  TEXT COLLATE "C" PRIMARY KEY NOT NULL CHECK (name <> ''),
    since BIGINT NOT NULL
);

-- When each source last delivered a webhook that was rightly signed.
CREATE TABLE sources (
    source  TEXT COLLATE "C" PRIMARY KEY NOT NULL CHECK (source <> ''),
    last_at BIGINT NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Why a job was not started, the last reason per job.
CREATE TABLE decisions (
    job_id     BIGINT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    reason     TEXT COLLATE "C" NOT NULL CHECK (reason::json IS NOT NULL),
    until_at   BIGINT,
    decided_at BIGINT NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05);

-- What the reaper did, for people. Written by the scheduler, read by whoever shows the queue.
CREATE TABLE reaper (
    id                        BIGINT PRIMARY KEY CHECK (id = 1),
    last_tick_at              BIGINT,
    -- Runs given up for lost: a lease that expired, or a node that died.
    reaped_total              BIGINT NOT NULL DEFAULT 0 CHECK (reaped_total >= 0),
    -- Rows that broke an invariant and were repaired, by kind (`domain::sanitize::Kind`).
    impossible_queued_total   BIGINT NOT NULL DEFAULT 0 CHECK (impossible_queued_total >= 0),
    impossible_running_total  BIGINT NOT NULL DEFAULT 0 CHECK (impossible_running_total >= 0),
    impossible_finished_total BIGINT NOT NULL DEFAULT 0 CHECK (impossible_finished_total >= 0),
    orphaned_runs_total       BIGINT NOT NULL DEFAULT 0 CHECK (orphaned_runs_total >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

INSERT INTO reaper (id) VALUES (1);

-- The logs of runs: the bytes from one offset to another, or none where they were dropped. A log has no holes: each piece
-- begins where the one before it ends.
CREATE TABLE run_logs (
    run_id      TEXT COLLATE "C" NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    from_offset BIGINT NOT NULL CHECK (from_offset >= 0),
    to_offset   BIGINT NOT NULL,
    bytes       BYTEA,
    PRIMARY KEY (run_id, from_offset),
    CONSTRAINT a_piece_ends_behind_its_start CHECK (to_offset > from_offset),
    CONSTRAINT bytes_fill_their_piece CHECK (length(bytes) = to_offset - from_offset)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.02);
