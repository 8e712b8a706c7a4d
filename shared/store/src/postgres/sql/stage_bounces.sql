-- How often each stage sent work items back that are not over; at most $1 of those items are looked at.
SELECT i.project, b.key AS stage, sum(b.value::bigint)::bigint AS times
FROM (SELECT project, bounces FROM work_items
      WHERE state IN ('active', 'waits_for_ci', 'needs_you') AND bounces <> '{}' LIMIT $1) AS i
CROSS JOIN json_each_text(i.bounces::json) AS b
GROUP BY i.project, b.key
