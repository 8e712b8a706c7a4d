-- ?1: sink; ?2: destination; ?3: until when nobody else takes them; ?4: how many.
UPDATE outbox
SET attempts = attempts + 1, available_at = ?3
WHERE id IN (SELECT id FROM outbox
             WHERE status = 'pending' AND sink = ?1 AND destination = ?2
             ORDER BY id LIMIT ?4)
RETURNING id, destination, key, payload, pushed_at, attempts
