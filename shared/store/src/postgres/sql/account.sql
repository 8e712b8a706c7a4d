-- The row is held: whoever reads it here writes it.
SELECT * FROM accounts WHERE account = $1 FOR UPDATE
