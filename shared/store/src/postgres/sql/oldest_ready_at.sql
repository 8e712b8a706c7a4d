-- Due jobs, and delayed ones whose time came by $1 without a claim having promoted them yet.
SELECT min(at) FROM (
    SELECT min(available_at) AS at FROM jobs WHERE status = 'queued' AND due
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL
    UNION ALL
    SELECT min(available_at) FROM jobs WHERE status = 'queued' AND NOT due AND available_at <= $1
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL
) AS ready
