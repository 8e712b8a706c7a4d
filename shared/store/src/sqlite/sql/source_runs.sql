-- Every run, by id.
SELECT id FROM runs ORDER BY id
