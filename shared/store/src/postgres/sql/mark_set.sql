-- Mark $2 of lane $1, in place of the older ones, where the transaction wrote anything: else nobody need know of its end. It
-- fails where somebody has denied it.
WITH older AS (DELETE FROM marks WHERE lane = $1 AND number < $2 AND pg_current_xact_id_if_assigned() IS NOT NULL)
INSERT INTO marks (lane, number, is_set)
SELECT $1, $2, TRUE WHERE pg_current_xact_id_if_assigned() IS NOT NULL
