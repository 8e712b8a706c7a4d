DELETE FROM conditions WHERE name = $1
