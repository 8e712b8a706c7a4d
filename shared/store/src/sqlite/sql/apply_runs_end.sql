-- A row: ?1 id, ?2 ended_at, ?3 class, ?4 reason, ?5 evidence, ?6 session_id, ?7 cost_usd, ?8 turns, ?9 input_tokens,
-- ?10 output_tokens, ?11 exit_code, ?12 tail, ?13 log_bytes, ?14 cache_read_tokens, ?15 api_retries, ?16 steps; what an end
-- does not say of the usage stays as it was noted.
UPDATE runs
SET state = 'ended',
    ended_at = ?2,
    class = ?3,
    reason = ?4,
    evidence = ?5,
    session_id = coalesce(?6, session_id),
    cost_usd = coalesce(?7, cost_usd),
    turns = coalesce(?8, turns),
    input_tokens = coalesce(?9, input_tokens),
    output_tokens = coalesce(?10, output_tokens),
    exit_code = ?11,
    tail = ?12,
    log_bytes = ?13,
    cache_read_tokens = coalesce(?14, cache_read_tokens),
    api_retries = max(?15, api_retries),
    steps = ?16
WHERE id = ?1 AND state <> 'ended'
