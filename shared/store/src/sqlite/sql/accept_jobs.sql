-- ?1: [[id, project, work_item, stage, role, priority, due, available_at, semantic_key, trace_context, now, own_prompt,
--       [kind, parent_job, delivery, hops, head, replaces, chain], [attempts, transient_attempts, infra_attempts]], …]
INSERT INTO jobs (id, project, work_item, stage, role, priority, status, due, available_at, semantic_key,
                  trace_context, created_at, updated_at, own_prompt, kind, parent_job, delivery, hops, head, replaces,
                  chain, attempts, transient_attempts, infra_attempts)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, 'queued', value ->> 6, value ->> 7,
       value ->> 8, value ->> 9, value ->> 10, value ->> 10,
       value ->> 11, value ->> '$[12][0]', value ->> '$[12][1]', value ->> '$[12][2]', value ->> '$[12][3]',
       value ->> '$[12][4]', value ->> '$[12][5]', value ->> '$[12][6]',
       value ->> '$[13][0]', value ->> '$[13][1]', value ->> '$[13][2]'
FROM json_each(?1)
