-- The jobs $1, a JSON array of ids, with all that is kept of each alone.
DELETE FROM jobs WHERE id IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb) AS c (value))
