-- ?1: [[id, expected status, run and revision, now], …], each job once: running jobs whose run starts. Nothing else of them
-- changes, so no indexed column is set and no index rewritten.
-- A row that says anything but what is expected is left alone and not returned.
UPDATE jobs
SET updated_at = c.value ->> 4,
    revision = jobs.revision + 1
FROM json_each(?1) AS c
WHERE jobs.id = c.value ->> 0
  AND jobs.status = c.value ->> 1
  AND jobs.run_id IS c.value ->> 2
  AND jobs.revision = c.value ->> 3
RETURNING jobs.id
