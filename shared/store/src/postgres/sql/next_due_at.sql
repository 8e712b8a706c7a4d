SELECT min(available_at) FROM jobs WHERE status = 'queued' AND NOT due AND available_at > $1
  AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL
