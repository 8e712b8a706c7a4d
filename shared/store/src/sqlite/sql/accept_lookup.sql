-- What a batch of deliveries and jobs repeats. ?1: [[source, delivery_id, event, body_sha256], …]; ?2: [semantic_key, …].
-- Rows: (kind, position in ?1, id, text, decision, job_ids).
SELECT 'delivery' AS kind, c.key AS position, d.id AS id, d.body_sha256 AS text, d.decision AS decision, d.job_ids AS job_ids
FROM json_each(?1) AS c CROSS JOIN deliveries AS d
WHERE d.source = c.value ->> 0 AND d.delivery_id = c.value ->> 1
UNION ALL
SELECT 'body', c.key, d.id, d.body_sha256, d.decision, d.job_ids
FROM json_each(?1) AS c CROSS JOIN deliveries AS d
WHERE d.source = c.value ->> 0 AND d.event = c.value ->> 2 AND d.body_sha256 = c.value ->> 3 AND d.decision = 'enqueued'
UNION ALL
SELECT 'key', 0, j.id, j.semantic_key, NULL, NULL
FROM json_each(?2) AS c CROSS JOIN jobs AS j
WHERE j.semantic_key = c.value
UNION ALL
SELECT 'key', 0, k.job_id, k.semantic_key, NULL, NULL
FROM json_each(?2) AS c CROSS JOIN joined_keys AS k
WHERE k.semantic_key = c.value
UNION ALL
SELECT 'spent', 0, k.job_id, k.semantic_key, NULL, NULL
FROM json_each(?2) AS c CROSS JOIN spent_keys AS k
WHERE k.semantic_key = c.value
UNION ALL
SELECT 'newest_job', 0, seq, NULL, NULL, NULL FROM sqlite_sequence WHERE name = 'jobs'
