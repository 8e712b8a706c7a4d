DELETE FROM paused_parts WHERE scope = ?1 AND name = ?2
