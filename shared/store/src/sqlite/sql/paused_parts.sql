SELECT scope, name FROM paused_parts ORDER BY scope, name
