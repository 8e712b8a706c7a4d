-- What a batch of deliveries and jobs repeats. $1: [[source, delivery_id, event, body_sha256], …]; $2: [semantic_key, …].
-- Rows: (kind, position in $1, id, text, decision, job_ids).
SELECT 'delivery' AS kind, c.place - 1 AS position, d.id AS id, d.body_sha256 AS text, d.decision AS decision,
       d.job_ids AS job_ids
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS c (value, place)
JOIN deliveries AS d ON d.source = c.value ->> 0 AND d.delivery_id = c.value ->> 1
UNION ALL
SELECT 'body', c.place - 1, d.id, d.body_sha256, d.decision, d.job_ids
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS c (value, place)
JOIN deliveries AS d ON d.source = c.value ->> 0 AND d.event = c.value ->> 2 AND d.body_sha256 = c.value ->> 3
WHERE d.decision = 'enqueued'
UNION ALL
SELECT 'key', 0, j.id, j.semantic_key, NULL, NULL
FROM jsonb_array_elements_text($2::jsonb) AS c (value)
JOIN jobs AS j ON j.semantic_key = c.value
UNION ALL
SELECT 'key', 0, k.job_id, k.semantic_key, NULL, NULL
FROM jsonb_array_elements_text($2::jsonb) AS c (value)
JOIN joined_keys AS k ON k.semantic_key = c.value
UNION ALL
SELECT 'spent', 0, k.job_id, k.semantic_key, NULL, NULL
FROM jsonb_array_elements_text($2::jsonb) AS c (value)
JOIN spent_keys AS k ON k.semantic_key = c.value
UNION ALL
SELECT 'newest_job', 0, newest, NULL, NULL, NULL FROM job_numbers
