SELECT p.sink, count(*) AS pending, 0 AS set_aside, min(p.pushed_at) AS oldest_at,
       (SELECT h.available_at FROM outbox AS h WHERE h.status = 'pending' AND h.sink = p.sink ORDER BY h.id LIMIT 1) AS next_at,
       (SELECT e.last_error FROM outbox AS e
        WHERE e.status = 'pending' AND e.sink = p.sink AND e.last_error IS NOT NULL
        ORDER BY e.id LIMIT 1) AS error
FROM outbox AS p
WHERE p.status = 'pending'
GROUP BY p.sink
UNION ALL
SELECT a.sink, 0, count(*), NULL, NULL,
       (SELECT n.last_error FROM outbox AS n WHERE n.status = 'set_aside' AND n.sink = a.sink ORDER BY n.id DESC LIMIT 1)
FROM outbox AS a
WHERE a.status = 'set_aside'
GROUP BY a.sink
