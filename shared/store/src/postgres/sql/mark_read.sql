SELECT is_set FROM marks WHERE lane = $1 AND number = $2
