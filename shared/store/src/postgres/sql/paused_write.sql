UPDATE meta SET paused = $1, paused_changed_at = $2 WHERE paused <> $1
