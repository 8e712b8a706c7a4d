-- How runs ended in the hours from $1 on, by the hour of their end in UTC milliseconds; those that are forgotten were
-- counted when they were.
SELECT hour, class, reason, sum(runs)::bigint AS runs, sum(cost_usd) AS cost_usd FROM (
    SELECT ended_at - ended_at % 3600000 AS hour, coalesce(class, '') AS class, coalesce(reason, '') AS reason,
           count(*) AS runs, coalesce(sum(cost_usd), 0) AS cost_usd
    FROM runs WHERE ended_at >= $1
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT hour, class, reason, runs, cost_usd FROM ended_runs WHERE hour >= $1
) AS known
GROUP BY hour, class, reason
ORDER BY hour, class, reason
