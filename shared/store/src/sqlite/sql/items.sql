-- The work items of project ?1 and state ?2, each NULL: any; the newest change first, at most ?3.
SELECT * FROM work_items INDEXED BY work_items_newest
WHERE updated_at < 9223372036854775807 AND (?1 IS NULL OR project = ?1) AND (?2 IS NULL OR state = ?2)
ORDER BY updated_at DESC, id DESC LIMIT ?3
