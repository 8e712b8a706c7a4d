-- $1: [run, …]
SELECT run_id, renewals FROM leases WHERE run_id IN (SELECT jsonb_array_elements_text($1::jsonb))
