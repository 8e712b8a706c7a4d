-- Whether this is our database: (number of tables, whether one is `meta`).
SELECT count(*), coalesce(sum(name = 'meta'), 0) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
