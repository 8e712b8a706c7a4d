-- $1: [[scope, key, usd_micros, tokens, runs, at], …]: adds to what was spent, on the day of `at`.
INSERT INTO spending (scope, key, usd_micros, tokens, runs, touched_day)
SELECT c.value ->> 0, c.value ->> 1, (c.value ->> 2)::bigint, (c.value ->> 3)::bigint, (c.value ->> 4)::bigint,
       (c.value ->> 5)::bigint / 86400000
FROM jsonb_array_elements($1::jsonb) AS c (value)
ON CONFLICT (scope, key) DO UPDATE
SET usd_micros = spending.usd_micros + excluded.usd_micros, tokens = spending.tokens + excluded.tokens,
    runs = spending.runs + excluded.runs, touched_day = excluded.touched_day
