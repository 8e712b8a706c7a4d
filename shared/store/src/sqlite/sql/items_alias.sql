-- ?1: [[project, alias, key], …]. The first item of a name keeps it.
INSERT INTO work_item_aliases (project, alias, key)
SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1) WHERE true
ON CONFLICT (project, alias) DO NOTHING
