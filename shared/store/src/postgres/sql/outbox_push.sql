-- $1: [[key, notice, at], …]: alerts as their facts write them.
INSERT INTO outbox (sink, key, payload, pushed_at, available_at)
SELECT 'unrouted', c.value ->> 0, c.value ->> 1, (c.value ->> 2)::bigint, (c.value ->> 2)::bigint
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS c (value, place)
ORDER BY c.place
ON CONFLICT (sink, key) DO NOTHING
