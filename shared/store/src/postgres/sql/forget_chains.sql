-- At most $2 sums of chains to which nothing was added since the day of $1.
WITH old AS MATERIALIZED (
    SELECT key FROM spending
    WHERE scope = 'chain' AND touched_day < $1 / 86400000 ORDER BY touched_day LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM spending USING old WHERE spending.scope = 'chain' AND spending.key = old.key
