-- $1: [[source, delivery_id, event, body_sha256, decision, job_ids, received_at], …]
INSERT INTO deliveries (source, delivery_id, event, body_sha256, decision, job_ids, received_at)
SELECT c.value ->> 0, c.value ->> 1, c.value ->> 2, c.value ->> 3, c.value ->> 4, c.value ->> 5,
       (c.value ->> 6)::bigint
FROM jsonb_array_elements($1::jsonb) AS c (value)
ON CONFLICT (source, delivery_id) DO UPDATE
SET event = excluded.event, decision = excluded.decision, job_ids = excluded.job_ids, received_at = excluded.received_at
WHERE deliveries.decision = 'ignored'
