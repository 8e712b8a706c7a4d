-- Bytes of logs by the hour their run ended in, the newest first, of runs that ended at $1 or later; nothing while the table
-- is not even as large as $2 bytes.
SELECT ended_at - ended_at % 3600000 AS hour, sum(log_bytes)::bigint AS bytes
FROM runs WHERE ended_at >= $1 AND pg_total_relation_size('run_logs') > $2
GROUP BY 1 ORDER BY 1 DESC
