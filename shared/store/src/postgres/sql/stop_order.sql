-- Keeps that the live run $1 is to be ended for the sake of the budget $2.
-- `ended_at + 0`: the index of all live runs is not read for it (see runs_live).
UPDATE runs SET stop = $2 WHERE id = $1 AND ended_at + 0 IS NULL AND stop IS NULL
