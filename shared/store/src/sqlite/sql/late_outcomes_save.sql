-- ?1: [[run_id, outcome, received_at], …]; the first report of a run is the one kept.
INSERT INTO late_outcomes (run_id, outcome, received_at)
SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1) WHERE true
ON CONFLICT (run_id) DO NOTHING
