SELECT j.*, r.state AS run_state FROM jobs AS j LEFT JOIN runs AS r ON r.id = j.run_id WHERE j.id = $1
