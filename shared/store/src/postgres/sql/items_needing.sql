-- The work items that need a person, the oldest first, at most $1.
SELECT * FROM work_items WHERE state = 'needs_you' ORDER BY updated_at, id LIMIT $1
