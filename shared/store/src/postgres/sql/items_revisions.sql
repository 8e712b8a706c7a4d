-- $1: [[project, key], …]
SELECT w.project, w.key, w.revision
FROM jsonb_array_elements($1::jsonb) AS c (value) CROSS JOIN work_items AS w
WHERE w.project = c.value ->> 0 AND w.key = c.value ->> 1
