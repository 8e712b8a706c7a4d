-- ?1: [[project, key], …]
SELECT w.project, w.key, w.revision
FROM json_each(?1) AS c CROSS JOIN work_items AS w
WHERE w.project = c.value ->> 0 AND w.key = c.value ->> 1
