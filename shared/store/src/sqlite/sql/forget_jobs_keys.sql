-- The keys of the jobs ?1, a JSON array of ids, stay known when those are gone.
INSERT INTO spent_keys (semantic_key, job_id, spent_at)
SELECT j.semantic_key, j.id, j.finished_at
FROM json_each(?1) AS c CROSS JOIN jobs AS j WHERE j.id = c.value AND j.semantic_key IS NOT NULL
UNION ALL
SELECT k.semantic_key, j.id, j.finished_at
FROM json_each(?1) AS c CROSS JOIN joined_keys AS k CROSS JOIN jobs AS j WHERE k.job_id = c.value AND j.id = c.value
ON CONFLICT (semantic_key) DO UPDATE SET job_id = excluded.job_id, spent_at = excluded.spent_at
