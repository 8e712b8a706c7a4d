SELECT database_generation, (SELECT count(*) FROM jobs) FROM meta
