-- Those of runs that are over.
DELETE FROM leases
WHERE EXISTS (SELECT 1 FROM runs WHERE runs.id = leases.run_id AND runs.ended_at IS NOT NULL)
