-- Takes the place of mark $2 of lane $1, unless it is there; of two at once, one waits for the other.
INSERT INTO marks (lane, number, is_set) VALUES ($1, $2, FALSE) ON CONFLICT (lane, number) DO NOTHING
