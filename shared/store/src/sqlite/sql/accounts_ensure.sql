-- ?1: [[account, now], …]
INSERT INTO accounts (account, updated_at)
SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE true
ON CONFLICT (account) DO NOTHING
