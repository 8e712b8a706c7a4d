-- Job $1, if it still has revision $2: status $3, due $4, available_at $5, finished_at $6, failure_reason $7, the
-- budgets $8 to $10, epoch $11, now $12. It owns nothing afterwards.
UPDATE jobs
SET status = $3,
    due = $4,
    available_at = coalesce($5, available_at),
    run_id = NULL,
    cancel_requested_at = NULL,
    finished_at = $6,
    failure_reason = $7,
    attempts = $8,
    transient_attempts = $9,
    infra_attempts = $10,
    epoch = $11,
    updated_at = $12,
    revision = revision + 1
WHERE id = $1 AND revision = $2
