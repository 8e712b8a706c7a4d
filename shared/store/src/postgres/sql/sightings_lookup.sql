-- The sightings of $1: [[project, subject, aspect], …].
SELECT s.* FROM jsonb_array_elements($1::jsonb) AS c (value) CROSS JOIN sightings AS s
WHERE s.project = c.value ->> 0 AND s.subject = c.value ->> 1 AND s.aspect = c.value ->> 2
