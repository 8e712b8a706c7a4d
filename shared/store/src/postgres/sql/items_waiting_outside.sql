-- The work items that something outside may move, those that waited longest first, at most $1.
SELECT * FROM work_items
WHERE updated_at < 9223372036854775807
  AND (state = 'waits_for_ci' OR (state = 'needs_you' AND needs::jsonb #>> '{why,why}' IN ('approval', 'trust')))
ORDER BY updated_at, id LIMIT $1
