SELECT c.project, c.stage, c.status, c.jobs,
       CASE c.status WHEN 'queued' THEN
           (SELECT min(j.created_at) FROM jobs AS j INDEXED BY jobs_waiting_for_a_stage
            WHERE j.status = 'queued' AND j.project = c.project AND j.stage = c.stage)
       END AS oldest_at
FROM job_counts AS c WHERE c.jobs > 0
ORDER BY c.project, c.stage, c.status
