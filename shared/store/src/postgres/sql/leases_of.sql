-- $1: [run, …]
SELECT run_id, renewals FROM leases WHERE run_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))
