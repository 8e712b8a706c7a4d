-- Rows that break an invariant of DESIGN.md section 4. The CHECKs refuse most of them; a file edited by hand may not.
SELECT 'I1', 'queued job ' || j.id || ' owns run ' || coalesce(j.run_id, r.id)
FROM jobs AS j LEFT JOIN runs AS r INDEXED BY runs_live ON r.job_id = j.id AND r.ended_at IS NULL
WHERE j.status = 'queued' AND (j.run_id IS NOT NULL OR r.id IS NOT NULL)
UNION ALL
SELECT 'I2', 'running job ' || j.id || ' has no live run of its own: ' || coalesce(j.run_id, 'none')
FROM jobs AS j LEFT JOIN runs AS r ON r.id = j.run_id AND r.job_id = j.id AND r.ended_at IS NULL
WHERE j.status = 'running' AND r.id IS NULL
UNION ALL
SELECT 'I2', 'run ' || r.id || ' lives but is not the run of its job ' || r.job_id
FROM runs AS r LEFT JOIN jobs AS j ON j.id = r.job_id AND j.run_id = r.id AND j.status = 'running'
WHERE r.ended_at IS NULL AND j.id IS NULL
UNION ALL
SELECT 'I3', 'job ' || job_id || ' has ' || count(*) || ' live runs'
FROM runs WHERE state <> 'ended' GROUP BY job_id HAVING count(*) > 1
UNION ALL
SELECT 'I4', 'job ' || j.id || ' is at epoch ' || j.epoch || ' but has a run of epoch ' || max(r.epoch)
FROM runs AS r JOIN jobs AS j ON j.id = r.job_id GROUP BY r.job_id HAVING max(r.epoch) > j.epoch
UNION ALL
SELECT 'I4', 'job ' || job_id || ' has ' || count(*) || ' runs of epoch ' || epoch
FROM runs GROUP BY job_id, epoch HAVING count(*) > 1
UNION ALL
SELECT 'I4', 'run ' || r.id || ' of running job ' || j.id || ' has epoch ' || r.epoch || ', the job ' || j.epoch
FROM jobs AS j JOIN runs AS r ON r.id = j.run_id WHERE j.status = 'running' AND r.epoch <> j.epoch
UNION ALL
SELECT 'I8', 'account ' || a.account || ' has ' || count(*) || ' live probes'
FROM accounts AS a JOIN runs AS r INDEXED BY runs_live ON r.account = a.account AND r.opening = a.opening
WHERE r.ended_at IS NULL AND a.open_until IS NOT NULL GROUP BY a.account HAVING count(*) > 1
UNION ALL
SELECT 'counts', 'there are ' || sum(there) || CASE due WHEN 1 THEN ' due ' ELSE ' ' END || status || ' jobs of stage ' || stage
       || ' of project ' || project || ', and ' || sum(kept) || ' are counted'
FROM (SELECT project, stage, status, due, jobs AS kept, 0 AS there FROM job_counts
      UNION ALL SELECT project, stage, status, due, 0, count(*) FROM jobs GROUP BY project, stage, status, due)
GROUP BY project, stage, status, due HAVING sum(kept) <> sum(there)
LIMIT 100
