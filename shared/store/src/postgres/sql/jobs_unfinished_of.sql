-- The queued and running jobs of work item $2 of project $1, by id.
SELECT j.*, r.state AS run_state FROM jobs AS j LEFT JOIN runs AS r ON r.id = j.run_id
WHERE j.project = $1 AND j.work_item = $2 AND j.status IN ('queued', 'running')
ORDER BY j.id
