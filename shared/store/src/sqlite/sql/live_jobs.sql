SELECT j.*, r.state AS run_state
FROM runs AS r INDEXED BY runs_live CROSS JOIN jobs AS j ON j.id = r.job_id AND j.run_id = r.id
WHERE r.ended_at IS NULL ORDER BY r.job_id
