-- The runs of the jobs ?1, a JSON array of ids.
SELECT r.id FROM json_each(?1) AS c CROSS JOIN runs AS r WHERE r.job_id = c.value
