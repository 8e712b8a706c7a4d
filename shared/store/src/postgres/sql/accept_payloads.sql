-- $1: [[job_id, payload], …]
INSERT INTO job_payloads (job_id, payload)
SELECT (c.value ->> 0)::bigint, c.value ->> 1 FROM jsonb_array_elements($1::jsonb) AS c (value)
