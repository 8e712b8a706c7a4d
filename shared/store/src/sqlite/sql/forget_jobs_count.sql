-- Counts the jobs ?1, a JSON array of ids, as forgotten. How their runs ended is counted already (`runs_count_ended`).
INSERT INTO forgotten_jobs (project, stage, status, jobs)
SELECT j.project, j.stage, j.status, count(*) FROM json_each(?1) AS c CROSS JOIN jobs AS j WHERE j.id = c.value
GROUP BY j.project, j.stage, j.status
ON CONFLICT (project, stage, status) DO UPDATE SET jobs = jobs + excluded.jobs
