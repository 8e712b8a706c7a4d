-- How often each stage sent work items back that are not over; at most ?1 of those items are looked at.
SELECT i.project, b.key AS stage, sum(b.value) AS times
FROM (SELECT project, bounces FROM work_items INDEXED BY work_items_bounced
      WHERE state IN ('active', 'waits_for_ci', 'needs_you') AND bounces <> '{}' LIMIT ?1) AS i
CROSS JOIN json_each(i.bounces) AS b
GROUP BY i.project, b.key
