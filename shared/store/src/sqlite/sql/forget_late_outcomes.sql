-- At most ?2 late reports that came before ?1, of runs that are forgotten.
DELETE FROM late_outcomes
WHERE run_id IN (SELECT l.run_id FROM late_outcomes AS l
                 WHERE l.received_at < ?1 AND NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.id = l.run_id)
                 ORDER BY l.received_at LIMIT ?2)
