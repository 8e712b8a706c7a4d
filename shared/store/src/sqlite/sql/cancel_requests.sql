SELECT run_id FROM jobs INDEXED BY jobs_status WHERE status = 'running' AND cancel_requested_at IS NOT NULL ORDER BY id
