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
