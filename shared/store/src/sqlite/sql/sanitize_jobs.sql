-- The rows of the jobs ?1, with the newest epoch of any of their runs.
SELECT j.*, (SELECT max(r.epoch) FROM runs AS r WHERE r.job_id = j.id) AS epoch_of_runs
FROM json_each(?1) AS c CROSS JOIN jobs AS j ON j.id = c.value
