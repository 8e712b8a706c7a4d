-- A row: ?1 id; ?2 status, ?3 run and ?4 revision as expected; ?5 status, ?6 due, ?7 available_at, ?8 run,
-- ?9 cancel_requested_at, ?10 finished_at, ?11 failure_reason, ?12 attempts, ?13 transient_attempts, ?14 infra_attempts,
-- ?15 epoch, ?16 now. Each job once.
-- A row that says anything but what is expected is left alone and not returned.
UPDATE jobs
SET status = ?5,
    due = ?6,
    available_at = coalesce(?7, available_at),
    run_id = ?8,
    cancel_requested_at = ?9,
    finished_at = ?10,
    failure_reason = ?11,
    attempts = ?12,
    transient_attempts = ?13,
    infra_attempts = ?14,
    epoch = ?15,
    updated_at = ?16,
    revision = revision + 1
WHERE id = ?1 AND status = ?2 AND run_id IS ?3 AND revision = ?4
RETURNING id
