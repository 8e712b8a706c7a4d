-- One row: paused, what the last claim found that any further job waits for, and
-- [[[job, project, work_item, node, account, opening, offered_at, chain],
--   [state, aside_usd_micros, aside_tokens, cost_usd, tokens]], …] of the live runs, and
-- [{scope, name}, …] of the paused parts.
SELECT m.paused, m.fleet_waits,
       (SELECT coalesce(json_agg(json_build_array(
                   json_build_array(r.job_id, j.project, j.work_item, r.node, r.account, r.opening, r.offered_at, j.chain),
                   json_build_array(r.state, r.aside_usd_micros, r.aside_tokens, r.cost_usd,
                                    coalesce(r.input_tokens, 0) + coalesce(r.output_tokens, 0)))
                   ORDER BY r.job_id), '[]')::text
        FROM runs AS r JOIN jobs AS j ON j.id = r.job_id
        WHERE r.ended_at IS NULL),
       (SELECT coalesce(json_agg(json_build_object('scope', scope, 'name', name)), '[]')::text FROM paused_parts)
FROM meta AS m
