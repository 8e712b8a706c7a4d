-- A generation that no database had before.
UPDATE meta SET database_generation = $1
