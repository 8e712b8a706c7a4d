-- A row: ?1 id, ?2 started_at.
UPDATE runs SET state = 'started', started_at = ?2 WHERE id = ?1 AND state = 'offered'
