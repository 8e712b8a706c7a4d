-- $1: sinks that take nothing.
SELECT EXISTS (SELECT 1 FROM outbox WHERE status = 'pending' AND sink IN (SELECT jsonb_array_elements_text($1::jsonb)))
