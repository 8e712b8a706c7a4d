-- $1: node, $2: [[run, epoch], …]. A run that somebody gives up just now is waited for, and is not renewed then.
-- `ended_at + 0`: the index of all live runs is not read for it (see runs_live).
WITH held AS MATERIALIZED (
    SELECT id FROM runs
    WHERE (id, epoch) IN (SELECT c.value ->> 0, (c.value ->> 1)::bigint FROM jsonb_array_elements($2::jsonb) AS c (value))
      AND node = $1
      AND ended_at + 0 IS NULL
    ORDER BY id
    FOR SHARE
)
INSERT INTO leases (run_id, renewals)
SELECT id, 1 FROM held
ON CONFLICT (run_id) DO UPDATE SET renewals = leases.renewals + 1
RETURNING run_id
