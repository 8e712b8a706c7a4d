-- Other names of the work items ?1: [[project, key], …].
DELETE FROM work_item_aliases
WHERE (project, alias) IN (SELECT a.project, a.alias
                           FROM json_each(?1) AS c CROSS JOIN work_item_aliases AS a INDEXED BY work_item_aliases_key
                           WHERE a.project = c.value ->> 0 AND a.key = c.value ->> 1)
