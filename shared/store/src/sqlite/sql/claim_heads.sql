-- The first ?1 due jobs of every project that has any, with their last decision. The projects are found by jumping
-- from one to the next in the index.
WITH RECURSIVE projects (project) AS (
    SELECT min(project) FROM jobs INDEXED BY jobs_due WHERE status = 'queued' AND due = 1
    UNION ALL
    SELECT (SELECT min(j.project) FROM jobs AS j INDEXED BY jobs_due
            WHERE j.status = 'queued' AND j.due = 1 AND j.project > projects.project)
    FROM projects WHERE projects.project IS NOT NULL
)
SELECT j.*, d.reason AS decision, d.until_at AS decision_until
FROM projects
CROSS JOIN jobs AS j
LEFT JOIN decisions AS d ON d.job_id = j.id
WHERE projects.project IS NOT NULL
  AND j.id IN (SELECT head.id FROM jobs AS head INDEXED BY jobs_due
               WHERE head.status = 'queued' AND head.due = 1 AND head.project = projects.project
               ORDER BY head.priority DESC, head.available_at, head.id LIMIT ?1)
