-- At most ?2 of the oldest deliveries: those that came before ?1.
DELETE FROM deliveries
WHERE id IN (SELECT id FROM (SELECT id, received_at FROM deliveries WHERE id > 0 ORDER BY id LIMIT ?2) WHERE received_at < ?1)
