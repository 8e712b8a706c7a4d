SELECT last_tick_at, reaped_total, impossible_queued_total, impossible_running_total, impossible_finished_total,
       orphaned_runs_total
FROM reaper
