-- $1: sink; $2: destination.
SELECT id, payload FROM outbox
WHERE status = 'pending' AND sink = $1 AND destination = $2
ORDER BY id
