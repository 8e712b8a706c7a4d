-- Job $1 with the inputs of its prompt and the standing of its work item, NULL where it has none.
SELECT j.*, r.state AS run_state, p.payload, w.standing FROM jobs AS j
LEFT JOIN runs AS r ON r.id = j.run_id
LEFT JOIN job_payloads AS p ON p.job_id = j.id
LEFT JOIN work_items AS w ON w.project = j.project AND w.key = j.work_item
WHERE j.id = $1
