SELECT * FROM runners ORDER BY id
