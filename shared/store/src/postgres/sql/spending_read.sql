-- The purses $1, [[scope, key], …], of which anything is kept.
SELECT s.* FROM jsonb_array_elements($1::jsonb) AS c (value) CROSS JOIN spending AS s
WHERE s.scope = c.value ->> 0 AND s.key = c.value ->> 1
