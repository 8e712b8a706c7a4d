-- ?1: [[project, key, title, stage, state, needs, head, bounces, hops, created_at, updated_at, waits, standing,
-- ended_because, chain], …], each item once.
INSERT INTO work_items (project, key, title, stage, state, needs, head, bounces, hops, created_at, updated_at, waits, standing,
                        ended_because, chain)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8,
       value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14
FROM json_each(?1) WHERE true
ON CONFLICT (project, key) DO UPDATE
SET title = excluded.title, stage = excluded.stage, state = excluded.state, needs = excluded.needs, head = excluded.head,
    bounces = excluded.bounces, hops = excluded.hops, chain = excluded.chain, updated_at = excluded.updated_at,
    waits = excluded.waits, standing = excluded.standing, ended_because = excluded.ended_because,
    revision = work_items.revision + 1
