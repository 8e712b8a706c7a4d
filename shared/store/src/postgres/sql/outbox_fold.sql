-- $1: [[id, payload], …]
UPDATE outbox SET payload = c.value ->> 1
FROM jsonb_array_elements($1::jsonb) AS c (value)
WHERE outbox.id = (c.value ->> 0)::bigint
