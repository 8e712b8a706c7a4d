-- Further due jobs of project ?1, of the stages ?2 (or ?5 where they bring their prompt) and of none of the work
-- items ?3: what stands behind a head that waits.
SELECT j.*, max(j.epoch, coalesce((SELECT max(r.epoch) FROM runs AS r WHERE r.job_id = j.id), 0)) AS epoch_seen,
       d.reason AS decision, d.until_at AS decision_until,
       (SELECT json_array(r.class, r.reason, r.session_id, r.node, r.account) FROM runs AS r
        WHERE r.job_id = j.id AND (r.class <> 'withdrawn' OR r.reason = 'session_refused')
        ORDER BY r.epoch DESC LIMIT 1) AS last_try,
       (SELECT json_array(r.class, r.reason, r.session_id, r.node, r.account) FROM runs AS r
        WHERE j.kind = 'reformat' AND r.job_id = j.parent_job ORDER BY r.epoch DESC LIMIT 1) AS asked_about
FROM jobs AS j INDEXED BY jobs_due
LEFT JOIN decisions AS d ON d.job_id = j.id
WHERE j.status = 'queued' AND j.due = 1
  AND j.run_id IS NULL AND j.cancel_requested_at IS NULL AND j.finished_at IS NULL AND j.failure_reason IS NULL
  AND j.project = ?1
  AND NOT EXISTS (SELECT 1 FROM runs AS live INDEXED BY runs_live
                  WHERE live.job_id = j.id AND live.ended_at IS NULL)
  AND (j.stage IN (SELECT value FROM json_each(?2))
       OR (j.own_prompt = 1 AND j.stage IN (SELECT value FROM json_each(?5))))
  AND j.work_item NOT IN (SELECT value FROM json_each(?3))
ORDER BY j.priority DESC, j.available_at, j.id
LIMIT ?4
