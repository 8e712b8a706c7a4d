-- Adds $4, from $2 to $3, to the logs of the runs $1, arrays of one length, where such a log ends there; gives the runs of
-- those that were added. Of two that add to one log at once, one does.
INSERT INTO run_logs (run_id, from_offset, to_offset, bytes)
SELECT c.run_id, c.from_offset, c.to_offset, c.bytes
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[]) AS c (run_id, from_offset, to_offset, bytes)
WHERE c.from_offset = coalesce((SELECT l.to_offset FROM run_logs AS l WHERE l.run_id = c.run_id
                                ORDER BY l.from_offset DESC LIMIT 1), 0)
ORDER BY c.run_id
ON CONFLICT (run_id, from_offset) DO NOTHING
RETURNING run_id
