-- The accounts of the runs $1, a JSON array of ids, each with the opening that its run was claimed under. Their rows
-- are held: the ends of other runs wait until these are written.
SELECT r.id AS run_id, r.opening AS claimed_under, r.account AS account, a.held_reason, a.held_until,
       coalesce(a.consecutive_transient, 0) AS consecutive_transient, coalesce(a.opening, 0) AS opening, a.open_until,
       coalesce(a.windows, '[]') AS windows
FROM jsonb_array_elements_text($1::jsonb) AS c (value)
JOIN runs AS r ON r.id = c.value
LEFT JOIN LATERAL (SELECT * FROM accounts WHERE accounts.account = r.account FOR UPDATE) AS a ON true
