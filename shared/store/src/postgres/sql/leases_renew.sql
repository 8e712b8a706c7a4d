-- $1: node, $2: [[run, epoch], …]
INSERT INTO leases (run_id, renewals)
SELECT DISTINCT runs.id, 1
FROM jsonb_array_elements($2::jsonb) AS c (value)
JOIN runs ON runs.id = c.value ->> 0
WHERE runs.epoch = (c.value ->> 1)::bigint
  AND runs.node = $1
  AND runs.ended_at IS NULL
ON CONFLICT (run_id) DO UPDATE SET renewals = leases.renewals + 1
RETURNING run_id
