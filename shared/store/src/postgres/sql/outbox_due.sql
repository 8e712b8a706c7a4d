-- $1: sink; $2: now. The lane whose first pending message is due, the one that waits longest.
SELECT o.destination
FROM outbox AS o
WHERE o.status = 'pending' AND o.sink = $1 AND o.available_at <= $2
  AND NOT EXISTS (SELECT 1 FROM outbox AS before
                  WHERE before.status = 'pending' AND before.sink = o.sink AND before.destination = o.destination
                    AND before.id < o.id)
ORDER BY o.id
LIMIT 1
