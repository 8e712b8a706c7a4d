-- The first ?1 due jobs of every project that has any, with their last decision. The projects are found by jumping
-- from one to the next in the index. A row that breaks an invariant is passed by: it is the sanitizer's.
WITH RECURSIVE projects (project) AS (
    SELECT min(project) FROM jobs INDEXED BY jobs_due
    WHERE status = 'queued' AND due = 1
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL
    UNION ALL
    SELECT (SELECT min(j.project) FROM jobs AS j INDEXED BY jobs_due
            WHERE j.status = 'queued' AND j.due = 1
              AND j.run_id IS NULL AND j.cancel_requested_at IS NULL AND j.finished_at IS NULL AND j.failure_reason IS NULL
              AND j.project > projects.project)
    FROM projects WHERE projects.project IS NOT NULL
)
SELECT j.*, max(j.epoch, coalesce((SELECT max(r.epoch) FROM runs AS r WHERE r.job_id = j.id), 0)) AS epoch_seen,
       d.reason AS decision, d.until_at AS decision_until,
       (SELECT json_array(r.class, r.reason, r.session_id, r.node, r.account) FROM runs AS r
        WHERE r.job_id = j.id AND (r.class <> 'withdrawn' OR r.reason = 'session_refused')
        ORDER BY r.epoch DESC LIMIT 1) AS last_try,
       (SELECT json_array(r.class, r.reason, r.session_id, r.node, r.account) FROM runs AS r
        WHERE j.kind = 'reformat' AND r.job_id = j.parent_job ORDER BY r.epoch DESC LIMIT 1) AS asked_about
FROM projects
CROSS JOIN jobs AS j
LEFT JOIN decisions AS d ON d.job_id = j.id
WHERE projects.project IS NOT NULL
  AND j.id IN (SELECT head.id FROM jobs AS head INDEXED BY jobs_due
               WHERE head.status = 'queued' AND head.due = 1
                 AND head.run_id IS NULL AND head.cancel_requested_at IS NULL AND head.finished_at IS NULL AND head.failure_reason IS NULL
                 AND head.project = projects.project
                 AND NOT EXISTS (SELECT 1 FROM runs AS live INDEXED BY runs_live
                                 WHERE live.job_id = head.id AND live.ended_at IS NULL)
               ORDER BY head.priority DESC, head.available_at, head.id LIMIT ?1)
