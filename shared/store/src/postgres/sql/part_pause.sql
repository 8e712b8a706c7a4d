INSERT INTO paused_parts (scope, name, since) VALUES ($1, $2, $3) ON CONFLICT (scope, name) DO NOTHING
