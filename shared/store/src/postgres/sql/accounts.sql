SELECT * FROM accounts ORDER BY account
