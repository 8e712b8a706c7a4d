-- ?1: [[source, delivery_id, event, body_sha256, decision, job_ids, received_at], …]
INSERT INTO deliveries (source, delivery_id, event, body_sha256, decision, job_ids, received_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each(?1) WHERE true
ON CONFLICT (source, delivery_id) DO UPDATE
SET event = excluded.event, decision = excluded.decision, job_ids = excluded.job_ids, received_at = excluded.received_at
WHERE deliveries.decision = 'ignored'
