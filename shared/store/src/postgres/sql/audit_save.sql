INSERT INTO audit (at, by, verb, project, work_item, note) VALUES ($1, $2, $3, $4, $5, $6)
