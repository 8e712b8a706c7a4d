-- ?1: [run, …]
SELECT run_id, renewals FROM leases WHERE run_id IN (SELECT value FROM json_each(?1))
