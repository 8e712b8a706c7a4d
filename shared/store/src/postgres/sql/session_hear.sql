-- $1: node, $2: incarnation, $3: nonce, $4: home
UPDATE runner_sessions SET heard = heard + 1, home = $4
WHERE node = $1 AND incarnation = $2 AND nonce = $3
RETURNING heard
