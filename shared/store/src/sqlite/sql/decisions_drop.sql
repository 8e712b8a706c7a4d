-- ?1: [job_id, …]
DELETE FROM decisions WHERE job_id IN (SELECT value FROM json_each(?1))
