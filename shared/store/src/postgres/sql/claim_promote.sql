-- Marks at most $2 delayed jobs whose time has come by $1 as due, the earliest first.
WITH come AS MATERIALIZED (
    SELECT id FROM jobs
    WHERE status = 'queued' AND NOT due AND available_at <= $1
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL
    ORDER BY available_at, id LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET due = true FROM come WHERE jobs.id = come.id
