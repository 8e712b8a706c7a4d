-- $1: [[id, attempts], …]; $2: status; $3: when settled; $4: when available again; $5: error.
-- What is put off must still be as it was taken; what is settled is settled whoever took it since.
UPDATE outbox
SET status = $2, settled_at = $3, available_at = coalesce($4, outbox.available_at), last_error = $5
FROM jsonb_array_elements($1::jsonb) AS c (value)
WHERE outbox.id = (c.value ->> 0)::bigint AND outbox.status = 'pending'
  AND ($2 <> 'pending' OR outbox.attempts = (c.value ->> 1)::bigint)
