-- All jobs there ever were, by status: those that are forgotten count on.
SELECT status, sum(jobs)::bigint
FROM (SELECT status, jobs FROM job_counts UNION ALL SELECT status, jobs FROM job_count_changes
      UNION ALL SELECT status, jobs FROM forgotten_jobs) AS known
GROUP BY status
