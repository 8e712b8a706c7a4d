-- The work items ?1, a JSON array of ids.
DELETE FROM work_items WHERE id IN (SELECT value FROM json_each(?1))
