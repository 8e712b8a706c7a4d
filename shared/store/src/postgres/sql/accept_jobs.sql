-- The jobs, and the number given last, which no job ever gets again.
-- $1: [[id, project, work_item, stage, role, priority, due, available_at, semantic_key, trace_context, now, own_prompt,
--       kind, parent_job, delivery, hops, head, replaces, chain, attempts, transient_attempts, infra_attempts], …]
WITH numbered AS (
    UPDATE job_numbers SET newest = (SELECT max((c.value ->> 0)::bigint) FROM jsonb_array_elements($1::jsonb) AS c (value))
)
INSERT INTO jobs (id, project, work_item, stage, role, priority, status, due, available_at, semantic_key,
                  trace_context, created_at, updated_at, own_prompt, kind, parent_job, delivery, hops, head, replaces,
                  chain, attempts, transient_attempts, infra_attempts)
SELECT (c.value ->> 0)::bigint, c.value ->> 1, c.value ->> 2, c.value ->> 3, c.value ->> 4, (c.value ->> 5)::bigint,
       'queued', (c.value ->> 6)::boolean, (c.value ->> 7)::bigint, c.value ->> 8, c.value ->> 9,
       (c.value ->> 10)::bigint, (c.value ->> 10)::bigint, (c.value ->> 11)::boolean, c.value ->> 12,
       (c.value ->> 13)::bigint, c.value ->> 14, (c.value ->> 15)::bigint, c.value ->> 16,
       (c.value ->> 17)::bigint, c.value ->> 18, (c.value ->> 19)::bigint, (c.value ->> 20)::bigint,
       (c.value ->> 21)::bigint
FROM jsonb_array_elements($1::jsonb) AS c (value)
