-- All jobs there ever were, by status: those that are forgotten count on.
SELECT status, sum(jobs)::bigint
FROM (SELECT status, count(*) AS jobs FROM jobs GROUP BY status UNION ALL SELECT status, jobs FROM forgotten_jobs) AS known
GROUP BY status
