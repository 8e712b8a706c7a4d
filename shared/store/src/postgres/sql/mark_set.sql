-- Mark $2 of lane $1, in place of the older ones. It fails where somebody has denied it.
WITH older AS (DELETE FROM marks WHERE lane = $1 AND number < $2)
INSERT INTO marks (lane, number, is_set) VALUES ($1, $2, TRUE)
