-- Adds $4, from $2 to $3, to the log of run $1, if that ends at $2. Of two that add there at once, one does.
INSERT INTO run_logs (run_id, from_offset, to_offset, bytes)
SELECT $1, $2, $3, $4
WHERE $2 = coalesce((SELECT to_offset FROM run_logs WHERE run_id = $1 ORDER BY from_offset DESC LIMIT 1), 0)
ON CONFLICT (run_id, from_offset) DO NOTHING
RETURNING to_offset
