-- At most ?2 of the oldest entries: those from before ?1.
DELETE FROM audit WHERE id IN (SELECT id FROM (SELECT id, at FROM audit WHERE id > 0 ORDER BY id LIMIT ?2) WHERE at < ?1)
