-- $1: sink; $2: destination; $3: until when nobody else takes them; $4: how many.
WITH heads AS MATERIALIZED (
    SELECT id FROM outbox
    WHERE status = 'pending' AND sink = $1 AND destination = $2
    ORDER BY id LIMIT $4
    FOR UPDATE
)
UPDATE outbox
SET attempts = outbox.attempts + 1, available_at = $3
FROM heads
WHERE outbox.id = heads.id
RETURNING outbox.id, outbox.destination, outbox.key, outbox.payload, outbox.pushed_at, outbox.attempts
