SELECT n.*, coalesce(b.runs, 0) AS busy
FROM runners AS n
LEFT JOIN (SELECT r.node, count(*) AS runs FROM runs AS r WHERE r.ended_at IS NULL GROUP BY r.node) AS b ON b.node = n.id
ORDER BY n.id
