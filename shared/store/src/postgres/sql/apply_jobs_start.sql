-- $1: [[id, expected status, run and revision, now], …], each job once: running jobs whose run starts. Nothing else of them
-- changes, so no indexed column is set and no index rewritten.
-- A row that says anything but what is expected is left alone and not returned.
UPDATE jobs
SET updated_at = (c.value ->> 4)::bigint,
    revision = jobs.revision + 1
FROM jsonb_array_elements($1::jsonb) AS c (value)
WHERE jobs.id = (c.value ->> 0)::bigint
  AND jobs.status = c.value ->> 1
  AND jobs.run_id IS NOT DISTINCT FROM c.value ->> 2
  AND jobs.revision = (c.value ->> 3)::bigint
RETURNING jobs.id
