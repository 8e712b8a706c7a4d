-- $1: when it ticked; $2: how many runs it gave up since it last said so.
UPDATE reaper SET last_tick_at = greatest(coalesce(last_tick_at, $1), $1), reaped_total = reaped_total + $2
