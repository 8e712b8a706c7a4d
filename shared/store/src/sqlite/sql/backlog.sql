-- Queued jobs by why they wait: put off; else paused; else the last decision on them; else what the last claim said of
-- any job; else nobody has looked yet. `domain::overview::WaitingJob::new` says the same of one.
SELECT reason, sum(jobs) AS jobs FROM (
    SELECT 'not_due' AS reason, count(*) AS jobs FROM jobs INDEXED BY jobs_delayed WHERE status = 'queued' AND due = 0
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL
    UNION ALL
    SELECT CASE WHEN m.paused THEN 'paused'
                ELSE coalesce(d.reason ->> '$.code', m.fleet_waits ->> '$[0].code', 'not_looked') END,
           count(*)
    FROM meta AS m
    CROSS JOIN jobs AS j INDEXED BY jobs_due
    LEFT JOIN decisions AS d ON d.job_id = j.id
    WHERE j.status = 'queued' AND j.due = 1
      AND j.run_id IS NULL AND j.cancel_requested_at IS NULL AND j.finished_at IS NULL AND j.failure_reason IS NULL
    GROUP BY 1
)
GROUP BY reason HAVING sum(jobs) > 0
