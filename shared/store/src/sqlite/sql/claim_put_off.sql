-- The first ?2 jobs that a limit put off beyond ?1, the earliest first: one of them may be a probe.
SELECT j.*, max(j.epoch, coalesce((SELECT max(r.epoch) FROM runs AS r WHERE r.job_id = j.id), 0)) AS epoch_seen,
       d.reason AS decision, d.until_at AS decision_until,
       (SELECT json_array(r.class, r.reason, r.session_id, r.node, r.account) FROM runs AS r
        WHERE r.job_id = j.id AND (r.class <> 'withdrawn' OR r.reason = 'session_refused')
        ORDER BY r.epoch DESC LIMIT 1) AS last_try,
       (SELECT json_array(r.class, r.reason, r.session_id, r.node, r.account) FROM runs AS r
        WHERE j.kind = 'reformat' AND r.job_id = j.parent_job ORDER BY r.epoch DESC LIMIT 1) AS asked_about
FROM jobs AS j INDEXED BY jobs_put_off
LEFT JOIN decisions AS d ON d.job_id = j.id
WHERE j.status = 'queued' AND j.due = 0 AND j.transient_attempts > 0 AND j.available_at > ?1
  AND j.run_id IS NULL AND j.cancel_requested_at IS NULL AND j.finished_at IS NULL AND j.failure_reason IS NULL
  AND NOT EXISTS (SELECT 1 FROM runs AS live INDEXED BY runs_live
                  WHERE live.job_id = j.id AND live.ended_at IS NULL)
ORDER BY j.available_at, j.id
LIMIT ?2
