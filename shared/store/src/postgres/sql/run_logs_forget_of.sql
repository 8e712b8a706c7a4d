-- At most $2 pieces of the logs of job $1's runs that have ended.
WITH old AS MATERIALIZED (
    SELECT l.run_id, l.from_offset FROM runs AS r JOIN run_logs AS l ON l.run_id = r.id
    WHERE r.job_id = $1 AND r.ended_at IS NOT NULL
    ORDER BY l.run_id, l.from_offset LIMIT $2 FOR UPDATE OF l SKIP LOCKED
), gone AS (
    DELETE FROM run_logs AS l USING old WHERE l.run_id = old.run_id AND l.from_offset = old.from_offset RETURNING 1
)
SELECT count(*) AS pieces FROM gone
