-- Counted from the index alone: counts kept in rows would have every writer wait for every other.
SELECT project, stage, status, count(*) AS jobs,
       CASE status WHEN 'queued' THEN
           (SELECT min(j.created_at) FROM jobs AS j
            WHERE j.status = 'queued' AND j.project = jobs.project AND j.stage = jobs.stage)
       END AS oldest_at
FROM jobs
GROUP BY project, stage, status
ORDER BY project, stage, status
