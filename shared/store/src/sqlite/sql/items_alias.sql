-- A row: ?1 project, ?2 alias, ?3 key. The first item of a name keeps it.
INSERT INTO work_item_aliases (project, alias, key) VALUES (?1, ?2, ?3)
ON CONFLICT (project, alias) DO NOTHING
