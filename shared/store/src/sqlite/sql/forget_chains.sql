-- At most ?2 sums of chains to which nothing was added since the day of ?1.
DELETE FROM spending
WHERE scope = 'chain' AND key IN (SELECT key FROM spending INDEXED BY spending_chains
                                  WHERE scope = 'chain' AND touched_day < ?1 / 86400000 ORDER BY touched_day LIMIT ?2)
