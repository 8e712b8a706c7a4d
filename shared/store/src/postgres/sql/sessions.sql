SELECT node, incarnation, nonce, home, heard FROM runner_sessions
