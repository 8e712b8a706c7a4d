-- $1: [[semantic_key, job_id], …]
INSERT INTO joined_keys (semantic_key, job_id)
SELECT c.value ->> 0, (c.value ->> 1)::bigint
FROM jsonb_array_elements($1::jsonb) AS c (value)
