-- ?1: [[id, payload], …]
UPDATE outbox SET payload = c.value ->> 1
FROM json_each(?1) AS c
WHERE outbox.id = c.value ->> 0
