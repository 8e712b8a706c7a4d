-- ?1: [[sink, destination, key, letter, at], …]: what the tracker and the forge are told, in this order.
INSERT INTO outbox (sink, destination, key, payload, pushed_at, available_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 4 FROM json_each(?1) WHERE true
ORDER BY key
ON CONFLICT (sink, key) DO NOTHING
