-- ?1: [[scope, key, usd_micros, tokens, runs], …]: adds to what was spent, on the day of ?2.
INSERT INTO spending (scope, key, usd_micros, tokens, runs, touched_day)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ?2 / 86400000 FROM json_each(?1) WHERE true
ON CONFLICT (scope, key) DO UPDATE
SET usd_micros = usd_micros + excluded.usd_micros, tokens = tokens + excluded.tokens, runs = runs + excluded.runs,
    touched_day = excluded.touched_day
