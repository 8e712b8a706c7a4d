-- $1: [[project, key, title, stage, state, needs, head, bounces, hops, created_at, updated_at, waits, standing,
-- ended_because, chain], …], each item once.
INSERT INTO work_items (project, key, title, stage, state, needs, head, bounces, hops, created_at, updated_at, waits, standing,
                        ended_because, chain)
SELECT c.value ->> 0, c.value ->> 1, c.value ->> 2, c.value ->> 3, c.value ->> 4, c.value ->> 5, c.value ->> 6,
       c.value ->> 7, (c.value ->> 8)::bigint, (c.value ->> 9)::bigint, (c.value ->> 10)::bigint, c.value ->> 11,
       c.value ->> 12, c.value ->> 13, c.value ->> 14
FROM jsonb_array_elements($1::jsonb) AS c (value)
ON CONFLICT (project, key) DO UPDATE
SET title = excluded.title, stage = excluded.stage, state = excluded.state, needs = excluded.needs, head = excluded.head,
    bounces = excluded.bounces, hops = excluded.hops, chain = excluded.chain, updated_at = excluded.updated_at,
    waits = excluded.waits, standing = excluded.standing, ended_because = excluded.ended_because,
    revision = work_items.revision + 1
