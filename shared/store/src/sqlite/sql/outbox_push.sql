-- ?1: [[key, notice, at], …]: alerts as their facts write them.
INSERT INTO outbox (sink, key, payload, pushed_at, available_at)
SELECT 'unrouted', value ->> 0, value ->> 1, value ->> 2, value ->> 2 FROM json_each(?1) WHERE true
ON CONFLICT (sink, key) DO NOTHING
