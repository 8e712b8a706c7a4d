-- A row: ?1 id, ?2 project, ?3 work_item, ?4 stage, ?5 role, ?6 priority, ?7 due, ?8 available_at, ?9 semantic_key,
-- ?10 trace_context, ?11 now, ?12 own_prompt, ?13 kind, ?14 parent_job, ?15 delivery, ?16 hops, ?17 head, ?18 replaces,
-- ?19 chain, ?20 attempts, ?21 transient_attempts, ?22 infra_attempts.
INSERT INTO jobs (id, project, work_item, stage, role, priority, status, due, available_at, semantic_key,
                  trace_context, created_at, updated_at, own_prompt, kind, parent_job, delivery, hops, head, replaces,
                  chain, attempts, transient_attempts, infra_attempts)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'queued', ?7, ?8, ?9, ?10, ?11, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)
