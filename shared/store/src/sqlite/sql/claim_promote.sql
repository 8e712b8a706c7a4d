-- Marks at most ?2 delayed jobs whose time has come by ?1 as due, the earliest first.
UPDATE jobs SET due = 1
WHERE id IN (SELECT id FROM jobs INDEXED BY jobs_delayed
             WHERE status = 'queued' AND due = 0 AND available_at <= ?1
               AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL
             ORDER BY available_at, id LIMIT ?2)
