-- At most ?4 finished jobs behind (?1, ?2) that ended before ?3, by their end; needed: of a row that is not what it seems, of
-- one that lives, whose end something waits for that is not over, or that an open work item goes on from.
SELECT j.id, j.finished_at,
       (SELECT coalesce(sum(r.log_bytes), 0) FROM runs AS r WHERE r.job_id = j.id) AS log_bytes,
       (j.status NOT IN ('done', 'failed', 'cancelled')
    OR EXISTS (SELECT 1 FROM runs AS r INDEXED BY runs_live WHERE r.job_id = j.id AND r.ended_at IS NULL)
    OR EXISTS (SELECT 1 FROM jobs AS c INDEXED BY jobs_of_a_parent
               WHERE c.parent_job = j.id AND c.status IN ('queued', 'running'))
    OR EXISTS (SELECT 1 FROM work_items AS w
               WHERE w.project = j.project AND w.key = j.work_item
                 AND ((w.state = 'needs_you' AND w.needs ->> '$.job' = j.id)
                   OR (w.state = 'waits_for_ci' AND w.waits ->> '$.job' = j.id)))) AS needed
FROM jobs AS j INDEXED BY jobs_finished
WHERE j.finished_at IS NOT NULL AND j.finished_at < ?3 AND (j.finished_at, j.id) > (?1, ?2)
ORDER BY j.finished_at, j.id LIMIT ?4
