-- The keys of the jobs $1, a JSON array of ids, stay known when those are gone.
INSERT INTO spent_keys (semantic_key, job_id, spent_at)
SELECT semantic_key, id, finished_at FROM (
    SELECT j.semantic_key, j.id, j.finished_at
    FROM jsonb_array_elements_text($1::jsonb) AS c (value) JOIN jobs AS j ON j.id = c.value::bigint
    WHERE j.semantic_key IS NOT NULL
    UNION ALL
    SELECT k.semantic_key, j.id, j.finished_at
    FROM jsonb_array_elements_text($1::jsonb) AS c (value)
    JOIN joined_keys AS k ON k.job_id = c.value::bigint JOIN jobs AS j ON j.id = k.job_id
) AS known
ORDER BY semantic_key
ON CONFLICT (semantic_key) DO UPDATE SET job_id = excluded.job_id, spent_at = excluded.spent_at
