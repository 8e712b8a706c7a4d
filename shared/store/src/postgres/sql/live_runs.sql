SELECT * FROM runs WHERE ended_at IS NULL ORDER BY job_id
