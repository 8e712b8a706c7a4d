SELECT * FROM runs WHERE job_id = $1 ORDER BY epoch
