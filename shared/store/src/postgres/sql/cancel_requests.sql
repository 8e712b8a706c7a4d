SELECT run_id FROM jobs WHERE status = 'running' AND cancel_requested_at IS NOT NULL ORDER BY id
