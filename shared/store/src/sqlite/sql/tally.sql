-- A range of the primary key: a run's id begins with the time of its claim.
SELECT class, reason, count(*) AS runs, total(cost_usd) AS cost_usd,
       coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(output_tokens), 0) AS output_tokens
FROM runs
WHERE id >= ?1
GROUP BY class, reason
ORDER BY runs DESC, class, reason
