-- $1: [[account, held_reason, held_until, consecutive_transient, opening, open_until, windows, now], …]
INSERT INTO accounts (account, held_reason, held_until, consecutive_transient, opening, open_until, windows, updated_at)
SELECT c.value ->> 0, c.value ->> 1, (c.value ->> 2)::bigint, (c.value ->> 3)::bigint, (c.value ->> 4)::bigint,
       (c.value ->> 5)::bigint, c.value ->> 6, (c.value ->> 7)::bigint
FROM jsonb_array_elements($1::jsonb) AS c (value)
ON CONFLICT (account) DO UPDATE
SET held_reason = excluded.held_reason, held_until = excluded.held_until,
    consecutive_transient = excluded.consecutive_transient, opening = excluded.opening,
    open_until = excluded.open_until, windows = excluded.windows, updated_at = excluded.updated_at
