INSERT INTO cursors (listing, project, cursor) VALUES ($1, $2, $3)
ON CONFLICT (listing, project) DO UPDATE SET cursor = excluded.cursor
