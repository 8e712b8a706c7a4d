-- ?1: [[id, started_at], …]
UPDATE runs SET state = 'started', started_at = c.value ->> 1
FROM json_each(?1) AS c
WHERE runs.id = c.value ->> 0 AND runs.state = 'offered'
