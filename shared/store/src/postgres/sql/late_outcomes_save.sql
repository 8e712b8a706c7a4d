-- $1: [[run_id, outcome, received_at], …]; the first report of a run is the one kept.
INSERT INTO late_outcomes (run_id, outcome, received_at)
SELECT c.value ->> 0, c.value ->> 1, (c.value ->> 2)::bigint
FROM jsonb_array_elements($1::jsonb) AS c (value)
ON CONFLICT (run_id) DO NOTHING
