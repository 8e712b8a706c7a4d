-- At most $2 of the oldest entries: those from before $1.
WITH oldest AS MATERIALIZED (SELECT id, at FROM audit ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
DELETE FROM audit USING oldest WHERE audit.id = oldest.id AND oldest.at < $1
