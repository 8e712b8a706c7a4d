-- How runs ended in the hours from $1 on, by the hour of their end in UTC milliseconds.
SELECT ended_at - ended_at % 3600000 AS hour, class, reason, count(*) AS runs, coalesce(sum(cost_usd), 0) AS cost_usd
FROM runs WHERE ended_at >= $1
GROUP BY 1, class, reason
ORDER BY 1, class, reason
