-- A range of the primary key: a run's id begins with the time of its claim.
SELECT class, reason, count(*) AS runs, coalesce(sum(cost_usd), 0) AS cost_usd,
       coalesce(sum(input_tokens), 0)::bigint AS input_tokens, coalesce(sum(output_tokens), 0)::bigint AS output_tokens
FROM runs
WHERE id >= $1
GROUP BY class, reason
ORDER BY runs DESC, class NULLS FIRST, reason NULLS FIRST
