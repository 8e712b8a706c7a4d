-- ?1: [[id, expected status, run and revision, status, due, available_at, run, cancel_requested_at, finished_at,
--       failure_reason, attempts, transient_attempts, infra_attempts, epoch, now], …], each job once.
-- A row that says anything but what is expected is left alone and not returned.
UPDATE jobs
SET status = c.value ->> 4,
    due = c.value ->> 5,
    available_at = coalesce(c.value ->> 6, jobs.available_at),
    run_id = c.value ->> 7,
    cancel_requested_at = c.value ->> 8,
    finished_at = c.value ->> 9,
    failure_reason = c.value ->> 10,
    attempts = c.value ->> 11,
    transient_attempts = c.value ->> 12,
    infra_attempts = c.value ->> 13,
    epoch = c.value ->> 14,
    updated_at = c.value ->> 15,
    revision = jobs.revision + 1
FROM json_each(?1) AS c
WHERE jobs.id = c.value ->> 0
  AND jobs.status = c.value ->> 1
  AND jobs.run_id IS c.value ->> 2
  AND jobs.revision = c.value ->> 3
RETURNING jobs.id
