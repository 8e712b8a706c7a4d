-- The work items that something outside may move, those that waited longest first, at most ?1.
SELECT * FROM work_items INDEXED BY work_items_waiting_outside
WHERE updated_at < 9223372036854775807
  AND (state = 'waits_for_ci' OR (state = 'needs_you' AND needs ->> '$.why.why' IN ('approval', 'trust')))
ORDER BY updated_at, id LIMIT ?1
