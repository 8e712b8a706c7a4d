-- ?1: settled before this instant; ?2: how many at once.
DELETE FROM outbox
WHERE id IN (SELECT id FROM outbox WHERE status <> 'pending' AND settled_at < ?1 ORDER BY settled_at LIMIT ?2)
