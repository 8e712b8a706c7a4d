-- ?1: sinks that take nothing; ?2: sinks that take alerts; ?3: now. One message for each of them, unless it has it.
INSERT INTO outbox (sink, key, payload, pushed_at, available_at)
SELECT c.value, o.key, o.payload, o.pushed_at, ?3
FROM outbox AS o CROSS JOIN json_each(?2) AS c
WHERE o.status = 'pending' AND o.sink IN (SELECT value FROM json_each(?1))
ORDER BY o.id
ON CONFLICT (sink, key) DO NOTHING
