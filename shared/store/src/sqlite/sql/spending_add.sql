-- A row: ?1 scope, ?2 key, ?3 usd_micros, ?4 tokens, ?5 runs: adds to what was spent, on the day of ?6.
INSERT INTO spending (scope, key, usd_micros, tokens, runs, touched_day)
VALUES (?1, ?2, ?3, ?4, ?5, ?6 / 86400000)
ON CONFLICT (scope, key) DO UPDATE
SET usd_micros = usd_micros + excluded.usd_micros, tokens = tokens + excluded.tokens, runs = runs + excluded.runs,
    touched_day = excluded.touched_day
