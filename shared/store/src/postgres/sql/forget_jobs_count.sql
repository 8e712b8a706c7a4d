-- Counts the jobs $1, a JSON array of ids, as forgotten, and how their runs ended. Whoever else counts takes the rows in the
-- same order.
WITH going AS MATERIALIZED (
    SELECT j.id, j.project, j.stage, j.status
    FROM jsonb_array_elements_text($1::jsonb) AS c (value) JOIN jobs AS j ON j.id = c.value::bigint
), hours AS (
    INSERT INTO ended_runs (hour, class, reason, runs, cost_usd)
    SELECT r.ended_at - r.ended_at % 3600000, coalesce(r.class, ''), coalesce(r.reason, ''), count(*),
           coalesce(sum(r.cost_usd), 0)
    FROM going JOIN runs AS r ON r.job_id = going.id WHERE r.ended_at IS NOT NULL
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (hour, class, reason)
    DO UPDATE SET runs = ended_runs.runs + excluded.runs, cost_usd = ended_runs.cost_usd + excluded.cost_usd
)
INSERT INTO forgotten_jobs (project, stage, status, jobs)
SELECT project, stage, status, count(*) FROM going GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (project, stage, status) DO UPDATE SET jobs = forgotten_jobs.jobs + excluded.jobs
