SELECT * FROM runs INDEXED BY runs_live WHERE ended_at IS NULL ORDER BY job_id
