-- The jobs that followed from the end of job ?1, the oldest first, at most ?2.
SELECT j.*, r.state AS run_state FROM jobs AS j INDEXED BY jobs_of_a_parent LEFT JOIN runs AS r ON r.id = j.run_id
WHERE j.parent_job = ?1 ORDER BY j.id LIMIT ?2
