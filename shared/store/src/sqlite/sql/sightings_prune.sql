-- Forgets at most ?3 sightings of before ?2 that nobody needs; ?1: [project, …], those that are configured.
WITH needed AS MATERIALIZED (
    SELECT w.project AS project, '@' || w.head AS tail
    FROM work_items AS w
    WHERE w.state IN ('active', 'waits_for_ci', 'needs_you') AND w.head IS NOT NULL
    UNION
    SELECT h.project, '@' || h.value
    FROM sightings AS h
    WHERE h.aspect = 'head'
      AND NOT EXISTS (SELECT 1 FROM sightings AS o
                      WHERE o.project = h.project AND o.subject = h.subject AND o.aspect = 'open' AND o.value = 'closed')
)
DELETE FROM sightings WHERE (project, subject, aspect) IN (
    SELECT s.project, s.subject, s.aspect
    FROM sightings AS s
    WHERE s.at < ?2
      AND (s.project NOT IN (SELECT value FROM json_each(?1))
        OR ((substr(s.aspect, 1, 7) = 'status:' OR substr(s.aspect, 1, 4) = 'run:')
            AND NOT EXISTS (SELECT 1 FROM needed AS n
                            WHERE n.project = s.project AND n.tail = substr(s.subject, instr(s.subject, '@'))))
        OR (substr(s.aspect, 1, 7) = 'branch:' AND trim(s.value, '0') = '')
        OR (EXISTS (SELECT 1 FROM sightings AS o
                    WHERE o.project = s.project AND o.subject = s.subject AND o.aspect = 'open' AND o.value = 'closed')
            AND NOT EXISTS (SELECT 1 FROM sightings AS l
                            WHERE l.project = s.project AND l.subject = s.subject AND l.at >= ?2)
            -- The last to go is what says that it is closed.
            AND (s.aspect <> 'open'
                OR NOT EXISTS (SELECT 1 FROM sightings AS l
                               WHERE l.project = s.project AND l.subject = s.subject AND l.aspect <> 'open'))))
    ORDER BY s.at
    LIMIT ?3)
