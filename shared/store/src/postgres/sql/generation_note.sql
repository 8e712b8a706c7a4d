UPDATE meta SET noted_generation = $1 WHERE database_generation = $1
