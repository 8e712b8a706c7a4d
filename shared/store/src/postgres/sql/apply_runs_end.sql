-- $1: [[id, ended_at, class, reason, evidence, session_id, cost_usd, turns, input_tokens, output_tokens, exit_code,
--       tail, log_bytes, cache_read_tokens, api_retries, steps], …]; what an end does not say of the usage stays as it was
--       noted.
UPDATE runs
SET state = 'ended',
    ended_at = (c.value ->> 1)::bigint,
    class = c.value ->> 2,
    reason = c.value ->> 3,
    evidence = c.value ->> 4,
    session_id = coalesce(c.value ->> 5, session_id),
    cost_usd = coalesce((c.value ->> 6)::double precision, cost_usd),
    turns = coalesce((c.value ->> 7)::bigint, turns),
    input_tokens = coalesce((c.value ->> 8)::bigint, input_tokens),
    output_tokens = coalesce((c.value ->> 9)::bigint, output_tokens),
    exit_code = (c.value ->> 10)::bigint,
    tail = c.value ->> 11,
    log_bytes = (c.value ->> 12)::bigint,
    cache_read_tokens = coalesce((c.value ->> 13)::bigint, cache_read_tokens),
    api_retries = greatest((c.value ->> 14)::bigint, api_retries),
    steps = c.value ->> 15
FROM jsonb_array_elements($1::jsonb) AS c (value)
WHERE runs.id = c.value ->> 0 AND runs.state <> 'ended'
