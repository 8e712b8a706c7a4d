-- At most $1 jobs that may break I1 to I3. Reads live runs and the jobs that point at one; no healthy row else.
SELECT id FROM jobs
    WHERE ((status = 'queued'
            AND (run_id IS NOT NULL OR cancel_requested_at IS NOT NULL OR finished_at IS NOT NULL
                 OR failure_reason IS NOT NULL))
        OR (status = 'running' AND run_id IS NULL)
        OR (status IN ('done', 'failed', 'cancelled')
            AND (run_id IS NOT NULL OR cancel_requested_at IS NOT NULL OR finished_at IS NULL OR due
                 OR (status = 'failed') <> (failure_reason IS NOT NULL))))
UNION
SELECT j.id FROM jobs AS j LEFT JOIN runs AS r ON r.id = j.run_id
WHERE j.run_id IS NOT NULL AND j.status = 'running'
  AND (r.id IS NULL OR r.job_id <> j.id OR r.ended_at IS NOT NULL OR r.state = 'ended')
UNION
SELECT r.job_id FROM runs AS r LEFT JOIN jobs AS j ON j.id = r.job_id
WHERE r.ended_at IS NULL AND (j.id IS NULL OR j.status <> 'running' OR j.run_id IS DISTINCT FROM r.id)
UNION
SELECT job_id FROM runs WHERE (state = 'ended') <> (ended_at IS NOT NULL)
LIMIT $1
