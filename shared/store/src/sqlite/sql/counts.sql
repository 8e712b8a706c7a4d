SELECT status, count(*) FROM jobs INDEXED BY jobs_status GROUP BY status
