-- ?1: [[id, cost_usd, turns, input_tokens, output_tokens, cache_read_tokens, api_retries], …] of runs that live.
UPDATE runs
SET cost_usd = coalesce(c.value ->> 1, cost_usd),
    turns = coalesce(c.value ->> 2, turns),
    input_tokens = coalesce(c.value ->> 3, input_tokens),
    output_tokens = coalesce(c.value ->> 4, output_tokens),
    cache_read_tokens = coalesce(c.value ->> 5, cache_read_tokens),
    api_retries = max(c.value ->> 6, api_retries)
FROM json_each(?1) AS c
WHERE runs.id = c.value ->> 0 AND runs.ended_at IS NULL
