-- A generation that no database had before; the tokens of runs stay what they were.
UPDATE meta SET database_generation = $1, run_secret = $2
