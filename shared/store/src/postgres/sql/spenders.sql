-- The runs that live, with whose spending they are.
SELECT r.id AS run_id, r.job_id, j.project, j.work_item, j.chain, r.account, r.state, r.aside_usd_micros, r.aside_tokens,
       r.cost_usd, r.input_tokens, r.output_tokens, r.stop
FROM runs AS r JOIN jobs AS j ON j.id = r.job_id
WHERE r.ended_at IS NULL
