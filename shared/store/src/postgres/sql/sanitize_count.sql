-- Adds to the counts of repaired rows: queued, running and finished jobs, orphaned runs.
UPDATE reaper
SET impossible_queued_total = impossible_queued_total + $1,
    impossible_running_total = impossible_running_total + $2,
    impossible_finished_total = impossible_finished_total + $3,
    orphaned_runs_total = orphaned_runs_total + $4
