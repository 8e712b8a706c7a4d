UPDATE accounts SET held_reason = NULL, held_until = NULL, updated_at = ?2 WHERE account = ?1 AND held_reason IS NOT NULL
