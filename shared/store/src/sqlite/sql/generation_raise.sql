UPDATE meta SET database_generation = ?1 WHERE database_generation < ?1
