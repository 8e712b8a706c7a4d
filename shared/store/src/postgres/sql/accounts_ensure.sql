-- $1: [[account, now], …]
INSERT INTO accounts (account, updated_at)
SELECT c.value ->> 0, (c.value ->> 1)::bigint
FROM jsonb_array_elements($1::jsonb) AS c (value)
ON CONFLICT (account) DO NOTHING
