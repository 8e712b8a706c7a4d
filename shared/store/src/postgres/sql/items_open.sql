-- The work items of project $1 that have not ended, by key from behind $2 on, at most $3.
SELECT * FROM work_items
WHERE project = $1 AND key > $2 AND state IN ('active', 'waits_for_ci', 'needs_you')
ORDER BY key LIMIT $3
