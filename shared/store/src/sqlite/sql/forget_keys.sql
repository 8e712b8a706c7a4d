-- At most ?2 keys of forgotten jobs that ended before ?1.
DELETE FROM spent_keys
WHERE semantic_key IN (SELECT semantic_key FROM spent_keys WHERE spent_at < ?1 ORDER BY spent_at LIMIT ?2)
