SELECT status, sum(jobs) FROM job_counts GROUP BY status
