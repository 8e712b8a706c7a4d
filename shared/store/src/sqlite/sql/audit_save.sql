INSERT INTO audit (at, by, via, origin, verb, subject, project, work_item, note, result)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
