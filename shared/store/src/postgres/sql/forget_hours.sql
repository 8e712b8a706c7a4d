-- At most $2 figures of hours before $1.
WITH old AS MATERIALIZED (
    SELECT hour, class, reason FROM ended_runs WHERE hour < $1 ORDER BY hour LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM ended_runs USING old
WHERE ended_runs.hour = old.hour AND ended_runs.class = old.class AND ended_runs.reason = old.reason
