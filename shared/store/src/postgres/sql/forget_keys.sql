-- At most $2 keys of forgotten jobs that ended before $1.
WITH old AS MATERIALIZED (
    SELECT semantic_key FROM spent_keys WHERE spent_at < $1 ORDER BY spent_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM spent_keys USING old WHERE spent_keys.semantic_key = old.semantic_key
