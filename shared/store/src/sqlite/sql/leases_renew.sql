-- ?1: node, ?2: [[run, epoch], …]
INSERT INTO leases (run_id, renewals)
SELECT runs.id, 1
FROM json_each(?2) AS c
JOIN runs ON runs.id = c.value ->> 0
WHERE runs.epoch = c.value ->> 1
  AND runs.node = ?1
  AND runs.ended_at IS NULL
ON CONFLICT (run_id) DO UPDATE SET renewals = leases.renewals + 1
RETURNING run_id
