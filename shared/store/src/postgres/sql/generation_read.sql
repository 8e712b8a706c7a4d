SELECT database_generation, noted_generation FROM meta
