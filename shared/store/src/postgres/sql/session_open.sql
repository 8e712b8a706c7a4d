-- $1: node, $2: incarnation, $3: nonce, $4: home. A newer incarnation that spoke already is left alone.
INSERT INTO runner_sessions (node, incarnation, nonce, home, heard) VALUES ($1, $2, $3, $4, 1)
ON CONFLICT (node) DO UPDATE
SET incarnation = excluded.incarnation, nonce = excluded.nonce, home = excluded.home,
    heard = runner_sessions.heard + 1
WHERE runner_sessions.incarnation <= excluded.incarnation
RETURNING heard
