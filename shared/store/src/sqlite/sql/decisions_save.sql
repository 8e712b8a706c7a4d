-- ?1: [[job_id, reason, until, now], …]
INSERT INTO decisions (job_id, reason, until_at, decided_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1) WHERE true
ON CONFLICT (job_id) DO UPDATE
SET reason = excluded.reason, until_at = excluded.until_at, decided_at = excluded.decided_at
