-- $1: sink; $2: destination; $3: where it is now; $4: now.
INSERT INTO moved_destinations (sink, destination, moved_to, moved_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (sink, destination) DO UPDATE SET moved_to = excluded.moved_to, moved_at = excluded.moved_at
