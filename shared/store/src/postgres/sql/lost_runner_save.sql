-- $1: runner, $2: incarnation, $3: now. The newest incarnation counts.
INSERT INTO lost_runners (id, incarnation, declared_at) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE
SET incarnation = greatest(lost_runners.incarnation, excluded.incarnation), declared_at = excluded.declared_at
