-- The queued jobs of $1, [[project, work_item, stage, start of the semantic keys for a commit], …], that a newer commit
-- replaces: those that an event from outside made, and those made for a commit by its key. They are held: none starts
-- while another takes its place.
SELECT j.*, p.payload
FROM jsonb_array_elements($1::jsonb) AS c (value)
CROSS JOIN jobs AS j
JOIN job_payloads AS p ON p.job_id = j.id
WHERE j.project = c.value ->> 0 AND j.work_item = c.value ->> 1 AND j.stage = c.value ->> 2
  AND j.status = 'queued' AND j.head IS NOT NULL AND j.kind = 'stage'
  AND (j.parent_job IS NULL OR substr(j.semantic_key, 1, length(c.value ->> 3)) = c.value ->> 3)
FOR UPDATE OF j
