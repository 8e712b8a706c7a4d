SELECT run_id FROM jobs INDEXED BY jobs_to_end WHERE status = 'running' AND cancel_requested_at IS NOT NULL ORDER BY id
