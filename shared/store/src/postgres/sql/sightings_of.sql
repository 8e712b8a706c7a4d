-- What was seen for project $1 of the subjects $2: [subject, …].
SELECT s.* FROM jsonb_array_elements_text($2::jsonb) AS c (value) CROSS JOIN sightings AS s
WHERE s.project = $1 AND s.subject = c.value
ORDER BY s.subject, s.aspect
