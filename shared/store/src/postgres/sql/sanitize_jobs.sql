-- The rows of the jobs $1, with the newest epoch of any of their runs. They are held: nobody moves a job or its run
-- while it is looked at.
SELECT j.*, (SELECT max(r.epoch) FROM runs AS r WHERE r.job_id = j.id) AS epoch_of_runs
FROM jobs AS j
WHERE j.id IN (SELECT c.value::bigint FROM jsonb_array_elements_text($1::jsonb) AS c (value))
ORDER BY j.id
FOR UPDATE OF j
