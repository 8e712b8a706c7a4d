-- The newest entries below $1, at most $2; with $3 those of that subject alone.
SELECT * FROM audit WHERE id < $1 AND ($3::text IS NULL OR subject = $3) ORDER BY id DESC LIMIT $2
