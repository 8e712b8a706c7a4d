-- ?1: [[id, ended_at, class, reason, evidence, session_id, cost_usd, turns, input_tokens, output_tokens, exit_code,
--       tail, log_bytes, cache_read_tokens, api_retries, steps], …]
UPDATE runs
SET state = 'ended',
    ended_at = c.value ->> 1,
    class = c.value ->> 2,
    reason = c.value ->> 3,
    evidence = c.value ->> 4,
    session_id = c.value ->> 5,
    cost_usd = c.value ->> 6,
    turns = c.value ->> 7,
    input_tokens = c.value ->> 8,
    output_tokens = c.value ->> 9,
    exit_code = c.value ->> 10,
    tail = c.value ->> 11,
    log_bytes = c.value ->> 12,
    cache_read_tokens = c.value ->> 13,
    api_retries = c.value ->> 14,
    steps = c.value ->> 15
FROM json_each(?1) AS c
WHERE runs.id = c.value ->> 0 AND runs.state <> 'ended'
