-- ?1: [[run id, reason, until, now], …]. A hold never shortens a longer one, nor one that waits for a person.
INSERT INTO accounts (account, held_reason, held_until, updated_at)
SELECT r.account, c.value ->> 1, c.value ->> 2, c.value ->> 3
FROM json_each(?1) AS c CROSS JOIN runs AS r
WHERE r.id = c.value ->> 0
ON CONFLICT (account) DO UPDATE
SET held_reason = excluded.held_reason, held_until = excluded.held_until, updated_at = excluded.updated_at
WHERE accounts.held_reason IS NULL
   OR (accounts.held_until IS NOT NULL
       AND (excluded.held_until IS NULL OR excluded.held_until > accounts.held_until))
