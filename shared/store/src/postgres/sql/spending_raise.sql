-- Raises the limits of purse $1, $2 by $3, $4 and $5.
INSERT INTO spending (scope, key, raised_usd_micros, raised_tokens, raised_runs) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (scope, key) DO UPDATE
SET raised_usd_micros = spending.raised_usd_micros + excluded.raised_usd_micros,
    raised_tokens = spending.raised_tokens + excluded.raised_tokens,
    raised_runs = spending.raised_runs + excluded.raised_runs
