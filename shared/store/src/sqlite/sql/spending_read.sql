-- The purses ?1, [[scope, key], …], of which anything is kept.
SELECT s.* FROM json_each(?1) AS c CROSS JOIN spending AS s
WHERE s.scope = c.value ->> 0 AND s.key = c.value ->> 1
