-- One row: paused, what the last claim found that any further job waits for, and
-- [[job, project, work_item, node, account, opening, offered_at], …] of the live runs.
SELECT m.paused, m.fleet_waits,
       (SELECT json_group_array(json_array(r.job_id, j.project, j.work_item, r.node, r.account, r.opening, r.offered_at))
        FROM runs AS r INDEXED BY runs_live CROSS JOIN jobs AS j ON j.id = r.job_id
        WHERE r.ended_at IS NULL)
FROM meta AS m
