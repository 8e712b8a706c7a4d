-- All jobs there ever were, by stage and status: those that are forgotten count on. Counted from the index alone: counts kept
-- in rows would have every writer wait for every other.
SELECT c.project, c.stage, c.status, sum(c.jobs)::bigint AS jobs,
       CASE c.status WHEN 'queued' THEN
           (SELECT min(j.created_at) FROM jobs AS j
            WHERE j.status = 'queued' AND j.project = c.project AND j.stage = c.stage)
       END AS oldest_at
FROM (SELECT project, stage, status, count(*) AS jobs FROM jobs GROUP BY project, stage, status
      UNION ALL SELECT project, stage, status, jobs FROM forgotten_jobs) AS c
GROUP BY c.project, c.stage, c.status
ORDER BY c.project, c.stage, c.status
