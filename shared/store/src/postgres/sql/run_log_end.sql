-- Where the log of run $1 ends; no row: nothing was written.
SELECT to_offset FROM run_logs WHERE run_id = $1 ORDER BY from_offset DESC LIMIT 1
