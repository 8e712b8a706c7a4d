SELECT database_generation, (SELECT coalesce(sum(jobs), 0) FROM job_counts) FROM meta
