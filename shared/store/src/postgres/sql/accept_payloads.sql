-- $1: [payload as text, …], of the consecutive jobs from $2 on.
INSERT INTO job_payloads (job_id, payload)
SELECT $2 + c.place - 1, c.value FROM jsonb_array_elements_text($1::jsonb) WITH ORDINALITY AS c (value, place)
