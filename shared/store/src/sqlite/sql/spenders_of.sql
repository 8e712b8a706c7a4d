-- Those of the runs ?1, a JSON array of ids, that live, with whose spending they are.
SELECT r.id AS run_id, r.job_id, j.project, j.work_item, j.chain, r.account, r.state, r.aside_usd_micros, r.aside_tokens,
       r.cost_usd, r.input_tokens, r.output_tokens, r.stop
FROM json_each(?1) AS c CROSS JOIN runs AS r ON r.id = c.value CROSS JOIN jobs AS j ON j.id = r.job_id
WHERE r.ended_at IS NULL
