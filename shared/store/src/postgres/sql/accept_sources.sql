-- $1: [[source, received_at], …], each source once. Exact to a second, so that a burst writes once.
INSERT INTO sources (source, last_at)
SELECT c.value ->> 0, (c.value ->> 1)::bigint
FROM jsonb_array_elements($1::jsonb) AS c (value)
ON CONFLICT (source) DO UPDATE SET last_at = excluded.last_at WHERE excluded.last_at >= sources.last_at + 1000
