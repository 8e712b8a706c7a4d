SELECT * FROM accounts WHERE account = ?1
