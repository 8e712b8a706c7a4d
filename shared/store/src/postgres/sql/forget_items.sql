-- The work items $1, a JSON array of ids.
DELETE FROM work_items WHERE id IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb) AS c (value))
