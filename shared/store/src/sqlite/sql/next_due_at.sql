SELECT min(available_at) FROM jobs INDEXED BY jobs_delayed WHERE status = 'queued' AND due = 0 AND available_at > ?1
  AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL
