-- The running jobs of $1, [[project, work_item, stage], …], that are about a commit. They are held: none ends while
-- it is asked to.
SELECT j.*, r.state AS run_state
FROM jsonb_array_elements($1::jsonb) AS c (value)
CROSS JOIN jobs AS j
JOIN runs AS r ON r.id = j.run_id
WHERE j.project = c.value ->> 0 AND j.work_item = c.value ->> 1 AND j.stage = c.value ->> 2
  AND j.status IN ('queued', 'running') AND j.status = 'running' AND j.head IS NOT NULL AND j.cancel_requested_at IS NULL
FOR UPDATE OF j
