-- ?1: [[semantic_key, job_id], …]
INSERT INTO joined_keys (semantic_key, job_id)
SELECT value ->> 0, value ->> 1
FROM json_each(?1)
