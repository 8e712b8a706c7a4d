-- The work items that go by the names $1: [[project, name], …]; a name is a key, or another name of one.
SELECT a.project AS project, a.name AS name, a.key AS canonical, w.key AS key, w.title, w.stage, w.state, w.needs, w.head,
       w.bounces, w.hops, w.chain, w.revision, w.created_at, w.updated_at, w.waits, w.standing, w.ended_because
FROM (SELECT c.value ->> 0 AS project, c.value ->> 1 AS name, coalesce(al.key, c.value ->> 1) AS key
      FROM jsonb_array_elements($1::jsonb) AS c (value)
      LEFT JOIN work_item_aliases AS al ON al.project = c.value ->> 0 AND al.alias = c.value ->> 1) AS a
LEFT JOIN work_items AS w ON w.project = a.project AND w.key = a.key
