-- The first $1 due jobs of every project that has any, with their last decision. The projects are found by jumping
-- from one to the next in the index. A row that breaks an invariant is passed by: it is the sanitizer's; so is one that
-- somebody else changes just now. The fence keeps the planner from locking more rows than are read.
-- `ended_at + 0`: the index of all live runs is not read for it (see runs_live).
WITH RECURSIVE projects (project) AS (
    SELECT min(project) FROM jobs
    WHERE status = 'queued' AND due
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL
    UNION ALL
    SELECT (SELECT min(j.project) FROM jobs AS j
            WHERE j.status = 'queued' AND j.due
              AND j.run_id IS NULL AND j.cancel_requested_at IS NULL AND j.finished_at IS NULL AND j.failure_reason IS NULL
              AND j.project > projects.project)
    FROM projects WHERE projects.project IS NOT NULL
),
held AS MATERIALIZED (
    SELECT head.*
    FROM projects
    CROSS JOIN LATERAL (
        SELECT j.*
        FROM jobs AS j
        WHERE j.status = 'queued' AND j.due
          AND j.run_id IS NULL AND j.cancel_requested_at IS NULL AND j.finished_at IS NULL AND j.failure_reason IS NULL
          AND j.project = projects.project
          AND NOT EXISTS (SELECT 1 FROM runs AS live WHERE live.job_id = j.id AND live.ended_at + 0 IS NULL)
        ORDER BY j.priority DESC, j.available_at, j.id
        LIMIT $1
        FOR UPDATE OF j SKIP LOCKED
    ) AS head
    WHERE projects.project IS NOT NULL
)
SELECT j.*, greatest(j.epoch, (SELECT max(r.epoch) FROM runs AS r WHERE r.job_id = j.id)) AS epoch_seen,
       d.reason AS decision, d.until_at AS decision_until,
       (SELECT json_build_array(r.class, r.reason, r.session_id, r.node, r.account)::text FROM runs AS r
        WHERE r.job_id = j.id AND (r.class <> 'withdrawn' OR r.reason = 'session_refused')
        ORDER BY r.epoch DESC LIMIT 1) AS last_try,
       (SELECT json_build_array(r.class, r.reason, r.session_id, r.node, r.account)::text FROM runs AS r
        WHERE j.kind = 'reformat' AND r.job_id = j.parent_job ORDER BY r.epoch DESC LIMIT 1) AS asked_about
FROM held AS j
LEFT JOIN decisions AS d ON d.job_id = j.id
