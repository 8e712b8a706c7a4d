-- How transaction $1 ended; NULL when that is no longer known.
SELECT pg_xact_status($1::xid8)
