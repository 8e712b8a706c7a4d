-- $1: [job_id, …]
DELETE FROM decisions WHERE job_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)::bigint))
