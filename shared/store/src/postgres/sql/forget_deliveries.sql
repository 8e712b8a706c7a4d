-- At most $2 of the oldest deliveries: those that came before $1.
WITH oldest AS MATERIALIZED (SELECT id, received_at FROM deliveries ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
DELETE FROM deliveries USING oldest WHERE deliveries.id = oldest.id AND oldest.received_at < $1
