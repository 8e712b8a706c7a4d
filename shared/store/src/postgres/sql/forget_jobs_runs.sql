-- The runs of the jobs $1, a JSON array of ids.
SELECT r.id FROM jsonb_array_elements_text($1::jsonb) AS c (value) JOIN runs AS r ON r.job_id = c.value::bigint
