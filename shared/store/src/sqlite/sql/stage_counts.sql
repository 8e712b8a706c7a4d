-- All jobs there ever were, by stage and status: those that are forgotten count on.
SELECT c.project, c.stage, c.status, sum(c.jobs) AS jobs,
       CASE c.status WHEN 'queued' THEN
           (SELECT min(j.created_at) FROM jobs AS j INDEXED BY jobs_waiting_for_a_stage
            WHERE j.status = 'queued' AND j.project = c.project AND j.stage = c.stage)
       END AS oldest_at
FROM (SELECT project, stage, status, jobs FROM job_counts WHERE jobs > 0
      UNION ALL SELECT project, stage, status, jobs FROM forgotten_jobs) AS c
GROUP BY c.project, c.stage, c.status
ORDER BY c.project, c.stage, c.status
