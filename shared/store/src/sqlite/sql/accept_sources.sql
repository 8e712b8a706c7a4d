-- ?1: [[source, received_at], …], each source once. Exact to a second, so that a burst writes once.
INSERT INTO sources (source, last_at)
SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE true
ON CONFLICT (source) DO UPDATE SET last_at = excluded.last_at WHERE excluded.last_at >= sources.last_at + 1000
