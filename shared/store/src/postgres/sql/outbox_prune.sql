-- $1: settled before this instant; $2: how many at once.
WITH old AS MATERIALIZED (
    SELECT id FROM outbox WHERE status <> 'pending' AND settled_at < $1 ORDER BY settled_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM outbox USING old WHERE outbox.id = old.id
