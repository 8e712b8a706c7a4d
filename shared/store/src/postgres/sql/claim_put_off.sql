-- The first $2 jobs that a limit put off beyond $1, the earliest first: one of them may be a probe.
-- `ended_at + 0`: the index of all live runs is not read for it (see runs_live).
WITH held AS MATERIALIZED (
    SELECT j.*
    FROM jobs AS j
    WHERE j.status = 'queued' AND NOT j.due AND j.transient_attempts > 0 AND j.available_at > $1
      AND j.run_id IS NULL AND j.cancel_requested_at IS NULL AND j.finished_at IS NULL AND j.failure_reason IS NULL
      AND NOT EXISTS (SELECT 1 FROM runs AS live WHERE live.job_id = j.id AND live.ended_at + 0 IS NULL)
    ORDER BY j.available_at, j.id
    LIMIT $2
    FOR UPDATE OF j SKIP LOCKED
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
ORDER BY j.available_at, j.id
