-- The reports of job $1's runs that came too late, by epoch.
SELECT l.run_id, l.outcome, l.received_at
FROM runs AS r JOIN late_outcomes AS l ON l.run_id = r.id
WHERE r.job_id = $1
ORDER BY r.epoch
