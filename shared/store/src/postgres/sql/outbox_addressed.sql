-- $1: sinks that take nothing.
DELETE FROM outbox
WHERE id IN (SELECT id FROM outbox WHERE status = 'pending' AND sink IN (SELECT jsonb_array_elements_text($1::jsonb)))
