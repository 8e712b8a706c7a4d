-- Queued jobs by why they wait: put off; else paused; else the last decision on them; else what the last claim said of
-- any job; else nobody has looked yet. `domain::overview::WaitingJob::new` says the same of one. Jobs are counted
-- already, and decided is only on those that a claim has looked at.
WITH waiting (due, jobs) AS MATERIALIZED (
    SELECT due, sum(jobs) FROM job_counts WHERE status = 'queued' GROUP BY due
), decided (reason, jobs) AS MATERIALIZED (
    SELECT looked_at.reason ->> '$.code', count(*) FROM decisions AS looked_at CROSS JOIN jobs AS j ON j.id = looked_at.job_id
    WHERE j.status = 'queued' AND j.due = 1 GROUP BY 1
)
SELECT reason, sum(jobs) AS jobs FROM (
    SELECT 'not_due' AS reason, jobs FROM waiting WHERE due = 0
    UNION ALL
    SELECT 'paused', jobs FROM waiting WHERE due = 1 AND (SELECT paused FROM meta)
    UNION ALL
    SELECT reason, jobs FROM decided WHERE NOT (SELECT paused FROM meta)
    UNION ALL
    SELECT coalesce(m.fleet_waits ->> '$[0].code', 'not_looked'),
           w.jobs - (SELECT coalesce(sum(jobs), 0) FROM decided)
    FROM meta AS m CROSS JOIN waiting AS w WHERE w.due = 1 AND NOT m.paused
)
GROUP BY reason HAVING sum(jobs) > 0
