-- Other names of the work items $1: [[project, key], …].
DELETE FROM work_item_aliases AS a USING jsonb_array_elements($1::jsonb) AS c (value)
WHERE a.project = c.value ->> 0 AND a.key = c.value ->> 1
