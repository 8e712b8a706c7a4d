-- SQLite counts every ended run by its hour, here only forgotten ones are: those that are there are taken off.
UPDATE ended_runs AS e SET runs = e.runs - r.runs, cost_usd = greatest(e.cost_usd - r.cost_usd, 0)
FROM (SELECT ended_at - ended_at % 3600000 AS hour, coalesce(class, '') AS class, coalesce(reason, '') AS reason,
             count(*) AS runs, coalesce(sum(cost_usd), 0) AS cost_usd
      FROM runs WHERE ended_at IS NOT NULL GROUP BY 1, 2, 3) AS r
WHERE e.hour = r.hour AND e.class = r.class AND e.reason = r.reason
