-- At most ?2 figures of hours before ?1.
DELETE FROM ended_runs
WHERE (hour, class, reason) IN (SELECT hour, class, reason FROM ended_runs WHERE hour < ?1 ORDER BY hour LIMIT ?2)
