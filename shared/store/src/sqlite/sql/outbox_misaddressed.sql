-- ?1: sinks that take nothing.
SELECT EXISTS (SELECT 1 FROM outbox WHERE status = 'pending' AND sink IN (SELECT value FROM json_each(?1)))
