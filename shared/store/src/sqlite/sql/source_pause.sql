-- Nothing starts any more on a database that was moved elsewhere.
UPDATE meta SET paused = 1, paused_changed_at = ?1
