-- One row: paused, [[account, reason, until], …] of the holds, [[job, project, work_item, node], …] of the live runs.
SELECT m.paused,
       (SELECT json_group_array(json_array(account, held_reason, held_until))
        FROM accounts WHERE held_reason IS NOT NULL),
       (SELECT json_group_array(json_array(r.job_id, j.project, j.work_item, r.node))
        FROM runs AS r INDEXED BY runs_live CROSS JOIN jobs AS j ON j.id = r.job_id
        WHERE r.ended_at IS NULL)
FROM meta AS m
