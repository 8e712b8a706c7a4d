-- $1: [[id, cost_usd, turns, input_tokens, output_tokens, cache_read_tokens, api_retries], …] of runs that live.
-- `ended_at + 0`: the index of all live runs is not read for it (see runs_live).
UPDATE runs
SET cost_usd = coalesce((c.value ->> 1)::double precision, cost_usd),
    turns = coalesce((c.value ->> 2)::bigint, turns),
    input_tokens = coalesce((c.value ->> 3)::bigint, input_tokens),
    output_tokens = coalesce((c.value ->> 4)::bigint, output_tokens),
    cache_read_tokens = coalesce((c.value ->> 5)::bigint, cache_read_tokens),
    api_retries = greatest((c.value ->> 6)::bigint, api_retries)
FROM jsonb_array_elements($1::jsonb) AS c (value)
WHERE runs.id = c.value ->> 0 AND runs.ended_at + 0 IS NULL
