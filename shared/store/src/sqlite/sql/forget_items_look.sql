-- At most ?2 work items that ended, last changed before ?1, and have no job that is not over.
SELECT w.id, w.project, w.key FROM work_items AS w INDEXED BY work_items_ended
WHERE w.state IN ('done', 'cancelled') AND w.updated_at < ?1
  AND NOT EXISTS (SELECT 1 FROM jobs AS j INDEXED BY jobs_unfinished
                  WHERE j.project = w.project AND j.work_item = w.key AND j.status IN ('queued', 'running'))
ORDER BY w.updated_at, w.id LIMIT ?2
