-- Queued jobs by why they wait: put off; else paused; else the last decision on them; else what the last claim said of
-- any job; else nobody has looked yet. `domain::overview::WaitingJob::new` says the same of one. Jobs are counted
-- already, and decided is only on those that a claim has looked at.
WITH waiting AS MATERIALIZED (
    SELECT due, sum(jobs)::bigint AS jobs
    FROM (SELECT status, due, jobs FROM job_counts UNION ALL SELECT status, due, jobs FROM job_count_changes) AS known
    WHERE status = 'queued' GROUP BY due
), decided AS MATERIALIZED (
    SELECT looked_at.reason::json ->> 'code' AS reason, count(*) AS jobs
    FROM decisions AS looked_at CROSS JOIN LATERAL (
        SELECT 1 FROM jobs AS j WHERE j.id = looked_at.job_id AND j.status = 'queued' AND j.due OFFSET 0
    ) AS waits
    GROUP BY 1
)
SELECT reason, sum(jobs)::bigint AS jobs FROM (
    SELECT 'not_due' AS reason, jobs FROM waiting WHERE NOT due
    UNION ALL
    SELECT 'paused', jobs FROM waiting WHERE due AND (SELECT paused FROM meta)
    UNION ALL
    SELECT reason, jobs FROM decided WHERE NOT (SELECT paused FROM meta)
    UNION ALL
    SELECT coalesce(m.fleet_waits::json -> 0 ->> 'code', 'not_looked'),
           w.jobs - (SELECT coalesce(sum(jobs), 0) FROM decided)
    FROM meta AS m CROSS JOIN waiting AS w WHERE w.due AND NOT m.paused
) AS counted
GROUP BY reason HAVING sum(jobs) > 0
