-- At most $4 finished jobs behind ($1, $2) that ended before $3, by their end; needed: of a row that is not what it seems, of
-- one that lives, whose end something waits for that is not over, or that an open work item goes on from. A row that
-- somebody holds is passed by. Subqueries with a limit are looked up row by row; EXISTS would be free to read the whole table.
SELECT j.id, j.finished_at,
       (SELECT coalesce(sum(r.log_bytes), 0)::bigint FROM runs AS r WHERE r.job_id = j.id) AS log_bytes,
       (j.status NOT IN ('done', 'failed', 'cancelled')
    OR (SELECT r.id FROM runs AS r WHERE r.job_id = j.id AND r.ended_at IS NULL LIMIT 1) IS NOT NULL
    OR (SELECT c.id FROM jobs AS c
        WHERE c.parent_job = j.id AND c.status IN ('queued', 'running') LIMIT 1) IS NOT NULL
    OR (SELECT w.id FROM work_items AS w
        WHERE w.project = j.project AND w.key = j.work_item
          AND ((w.state = 'needs_you' AND w.needs::jsonb ->> 'job' = j.id::text)
            OR (w.state = 'waits_for_ci' AND w.waits::jsonb ->> 'job' = j.id::text)) LIMIT 1) IS NOT NULL) AS needed
FROM jobs AS j
WHERE j.finished_at IS NOT NULL AND j.finished_at < $3 AND (j.finished_at, j.id) > ($1, $2)
ORDER BY j.finished_at, j.id LIMIT $4
FOR UPDATE OF j SKIP LOCKED
