-- The newest jobs of status ?4 above ?1 and below ?2, at most ?3. One row of meta by its key: so the order is the index's, and nothing is sorted.
SELECT j.*, r.state AS run_state, d.reason AS decision, d.until_at AS decision_until, m.paused, m.fleet_waits
FROM meta AS m
CROSS JOIN jobs AS j INDEXED BY jobs_status
LEFT JOIN runs AS r ON r.id = j.run_id
LEFT JOIN decisions AS d ON d.job_id = j.id AND j.status = 'queued'
WHERE m.id = 1 AND j.status = ?4 AND j.id > ?1 AND j.id < ?2
ORDER BY j.id DESC LIMIT ?3
