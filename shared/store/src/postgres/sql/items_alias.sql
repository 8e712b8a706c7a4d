-- $1: [[project, alias, key], …]. The first item of a name keeps it.
INSERT INTO work_item_aliases (project, alias, key)
SELECT c.value ->> 0, c.value ->> 1, c.value ->> 2
FROM jsonb_array_elements($1::jsonb) AS c (value)
ON CONFLICT (project, alias) DO NOTHING
