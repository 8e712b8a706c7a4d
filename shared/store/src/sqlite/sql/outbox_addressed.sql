-- ?1: sinks that take nothing.
DELETE FROM outbox
WHERE id IN (SELECT id FROM outbox WHERE status = 'pending' AND sink IN (SELECT value FROM json_each(?1)))
