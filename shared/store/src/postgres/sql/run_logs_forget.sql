-- Of the $3 runs that ended first after $1 and before $2: at most $4 pieces of their logs, the beginning of each first, so
-- that what is left is not shown as a whole. Gives how many, and when the last of those runs ended.
WITH ended AS MATERIALIZED (
    SELECT id, ended_at FROM runs WHERE ended_at > $1 AND ended_at < $2 ORDER BY ended_at LIMIT $3
), through AS (
    SELECT max(ended_at) AS ended_at, count(*) AS runs FROM ended
), old AS MATERIALIZED (
    SELECT l.run_id, l.from_offset
    FROM through JOIN runs AS r ON r.ended_at > $1 AND r.ended_at <= through.ended_at
    JOIN run_logs AS l ON l.run_id = r.id
    ORDER BY l.run_id, l.from_offset LIMIT $4 FOR UPDATE OF l SKIP LOCKED
), gone AS (
    DELETE FROM run_logs AS l USING old WHERE l.run_id = old.run_id AND l.from_offset = old.from_offset RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS pieces, through.ended_at AS through, through.runs = $3 AS is_more FROM through
