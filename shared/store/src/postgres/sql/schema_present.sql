-- Whether this is our database: (number of tables, whether one is `meta`).
SELECT count(*), count(*) FILTER (WHERE relname = 'meta')
FROM pg_class
WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
