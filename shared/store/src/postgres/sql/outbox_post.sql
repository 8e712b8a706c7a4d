-- $1: [[sink, destination, key, letter, at], …]: what the tracker and the forge are told, in this order.
INSERT INTO outbox (sink, destination, key, payload, pushed_at, available_at)
SELECT c.value ->> 0, c.value ->> 1, c.value ->> 2, c.value ->> 3, (c.value ->> 4)::bigint, (c.value ->> 4)::bigint
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS c (value, place)
ORDER BY c.place
ON CONFLICT (sink, key) DO NOTHING
