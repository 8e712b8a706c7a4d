SELECT * FROM agent_runs LIMIT ?1
