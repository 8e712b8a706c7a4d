-- The piece of run $1's log that holds offset $2.
SELECT from_offset, to_offset, bytes
FROM (SELECT from_offset, to_offset, bytes FROM run_logs
      WHERE run_id = $1 AND from_offset <= $2
      ORDER BY from_offset DESC LIMIT 1) AS last
WHERE to_offset > $2
