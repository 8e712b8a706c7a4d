SELECT n.*, (SELECT count(*) FROM runs AS r WHERE r.ended_at IS NULL AND r.node = n.id) AS busy
FROM runners AS n ORDER BY n.id
