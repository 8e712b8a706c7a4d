-- A row: ?1 project, ?2 key, ?3 title, ?4 stage, ?5 state, ?6 needs, ?7 head, ?8 bounces, ?9 hops, ?10 created_at,
-- ?11 updated_at, ?12 waits, ?13 standing, ?14 ended_because, ?15 chain. Each item once.
INSERT INTO work_items (project, key, title, stage, state, needs, head, bounces, hops, created_at, updated_at, waits, standing,
                        ended_because, chain)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
ON CONFLICT (project, key) DO UPDATE
SET title = excluded.title, stage = excluded.stage, state = excluded.state, needs = excluded.needs, head = excluded.head,
    bounces = excluded.bounces, hops = excluded.hops, chain = excluded.chain, updated_at = excluded.updated_at,
    waits = excluded.waits, standing = excluded.standing, ended_because = excluded.ended_because,
    revision = work_items.revision + 1
