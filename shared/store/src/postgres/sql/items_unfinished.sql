-- The jobs of $1, [[project, work_item, stage, start of the semantic keys of what is made because of a commit], …], that are
-- not over and were made because of a commit. They are held: none ends while another cause joins it. One that was claimed
-- while this statement waited for it has a run that it cannot see: that is offered at least, and nobody asks for more.
SELECT j.*, coalesce(r.state, 'offered') AS run_state
FROM jsonb_array_elements($1::jsonb) AS c (value)
CROSS JOIN jobs AS j
LEFT JOIN runs AS r ON r.id = j.run_id
WHERE j.project = c.value ->> 0 AND j.work_item = c.value ->> 1 AND j.stage = c.value ->> 2
  AND j.status IN ('queued', 'running') AND j.head IS NOT NULL AND j.kind = 'stage'
  AND substr(j.semantic_key, 1, length(c.value ->> 3)) = c.value ->> 3
FOR UPDATE OF j
