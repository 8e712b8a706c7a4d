-- At most $2 work items that ended, last changed before $1, and have no job that is not over.
SELECT w.id, w.project, w.key FROM work_items AS w
WHERE w.state IN ('done', 'cancelled') AND w.updated_at < $1
  AND NOT EXISTS (SELECT 1 FROM jobs AS j
                  WHERE j.project = w.project AND j.work_item = w.key AND j.status IN ('queued', 'running'))
ORDER BY w.updated_at, w.id LIMIT $2
FOR UPDATE OF w SKIP LOCKED
