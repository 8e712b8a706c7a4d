-- A row: ?1 source, ?2 delivery_id, ?3 event, ?4 body_sha256, ?5 decision, ?6 job_ids, ?7 received_at.
INSERT INTO deliveries (source, delivery_id, event, body_sha256, decision, job_ids, received_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (source, delivery_id) DO UPDATE
SET event = excluded.event, decision = excluded.decision, job_ids = excluded.job_ids, received_at = excluded.received_at
WHERE deliveries.decision = 'ignored'
