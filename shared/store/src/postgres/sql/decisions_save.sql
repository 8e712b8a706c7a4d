-- $1: [[job_id, reason, until, now], …]
INSERT INTO decisions (job_id, reason, until_at, decided_at)
SELECT (c.value ->> 0)::bigint, c.value ->> 1, (c.value ->> 2)::bigint, (c.value ->> 3)::bigint
FROM jsonb_array_elements($1::jsonb) AS c (value)
ON CONFLICT (job_id) DO UPDATE
SET reason = excluded.reason, until_at = excluded.until_at, decided_at = excluded.decided_at
