-- The work items of key $4, of project $1 and state $2, each NULL: any; at most $3.
SELECT * FROM work_items
WHERE key = $4 AND ($1::text IS NULL OR project = $1) AND ($2::text IS NULL OR state = $2)
ORDER BY updated_at DESC, id DESC LIMIT $3
