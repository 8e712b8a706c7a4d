-- Folds at most $1 changes into the counts. Of two who do so at once each takes others; both take counts in one order.
WITH taken AS MATERIALIZED (
    SELECT ctid FROM job_count_changes LIMIT $1 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM job_count_changes USING taken WHERE job_count_changes.ctid = taken.ctid
    RETURNING project, stage, status, due, jobs
)
INSERT INTO job_counts (project, stage, status, due, jobs)
SELECT project, stage, status, due, sum(jobs) FROM gone
GROUP BY project, stage, status, due HAVING sum(jobs) <> 0 ORDER BY project, stage, status, due
ON CONFLICT (project, stage, status, due) DO UPDATE SET jobs = job_counts.jobs + excluded.jobs
