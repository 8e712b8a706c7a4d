-- $1: [[id, started_at], …]
UPDATE runs SET state = 'started', started_at = (c.value ->> 1)::bigint
FROM jsonb_array_elements($1::jsonb) AS c (value)
WHERE runs.id = c.value ->> 0 AND runs.state = 'offered'
