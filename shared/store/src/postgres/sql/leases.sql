SELECT leases.run_id, leases.renewals
FROM leases
JOIN runs ON runs.id = leases.run_id
WHERE runs.ended_at IS NULL
