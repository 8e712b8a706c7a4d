-- $1: [[id, expected status, run and revision, status, due, available_at, run, cancel_requested_at, finished_at,
--       failure_reason, attempts, transient_attempts, infra_attempts, epoch, now], …], each job once.
-- A row that says anything but what is expected is left alone and not returned.
UPDATE jobs
SET status = c.value ->> 4,
    due = (c.value ->> 5)::boolean,
    available_at = coalesce((c.value ->> 6)::bigint, jobs.available_at),
    run_id = c.value ->> 7,
    cancel_requested_at = (c.value ->> 8)::bigint,
    finished_at = (c.value ->> 9)::bigint,
    failure_reason = c.value ->> 10,
    attempts = (c.value ->> 11)::bigint,
    transient_attempts = (c.value ->> 12)::bigint,
    infra_attempts = (c.value ->> 13)::bigint,
    epoch = (c.value ->> 14)::bigint,
    updated_at = (c.value ->> 15)::bigint,
    revision = jobs.revision + 1
FROM jsonb_array_elements($1::jsonb) AS c (value)
WHERE jobs.id = (c.value ->> 0)::bigint
  AND jobs.status = c.value ->> 1
  AND jobs.run_id IS NOT DISTINCT FROM c.value ->> 2
  AND jobs.revision = (c.value ->> 3)::bigint
RETURNING jobs.id
