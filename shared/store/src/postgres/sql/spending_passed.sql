-- The work items $1, a JSON array of their keys here, passed a stage: what they spend from now on is counted anew.
UPDATE spending SET pass_usd_micros = usd_micros, pass_tokens = tokens, pass_runs = runs
WHERE scope = 'item' AND key IN (SELECT jsonb_array_elements_text($1::jsonb))
