-- ?1: [[account, held_reason, held_until, consecutive_transient, opening, open_until, windows, now], …]
INSERT INTO accounts (account, held_reason, held_until, consecutive_transient, opening, open_until, windows, updated_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
FROM json_each(?1) WHERE true
ON CONFLICT (account) DO UPDATE
SET held_reason = excluded.held_reason, held_until = excluded.held_until,
    consecutive_transient = excluded.consecutive_transient, opening = excluded.opening,
    open_until = excluded.open_until, windows = excluded.windows, updated_at = excluded.updated_at
