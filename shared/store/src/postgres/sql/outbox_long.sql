-- $1: sink; $2: destination; $3: how many are many.
SELECT count(*) > $3 FROM (SELECT 1 FROM outbox
                           WHERE status = 'pending' AND sink = $1 AND destination = $2
                           LIMIT $3 + 1) AS head
