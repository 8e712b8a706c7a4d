-- Those of the runs $1, a JSON array of ids, that live, with whose spending they are. Their rows are held: what was
-- noted of them is added to no purse twice.
-- `ended_at + 0`: the index of all live runs is not read for it (see runs_live).
SELECT r.id AS run_id, r.job_id, j.project, j.work_item, j.chain, r.account, r.state, r.aside_usd_micros, r.aside_tokens,
       r.cost_usd, r.input_tokens, r.output_tokens, r.stop
FROM runs AS r JOIN jobs AS j ON j.id = r.job_id
WHERE r.id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))) AND r.ended_at + 0 IS NULL
ORDER BY r.id
FOR UPDATE OF r
