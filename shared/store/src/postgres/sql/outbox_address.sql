-- $1: sinks that take nothing; $2: sinks that take alerts; $3: now. One message for each of them, unless it has it.
INSERT INTO outbox (sink, key, payload, pushed_at, available_at)
SELECT c.value, o.key, o.payload, o.pushed_at, $3
FROM outbox AS o CROSS JOIN jsonb_array_elements_text($2::jsonb) AS c (value)
WHERE o.status = 'pending' AND o.sink IN (SELECT jsonb_array_elements_text($1::jsonb))
ORDER BY o.id
ON CONFLICT (sink, key) DO NOTHING
