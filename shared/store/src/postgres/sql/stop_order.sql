-- Keeps that the live run $1 is to be ended for the sake of the budget $2.
UPDATE runs SET stop = $2 WHERE id = $1 AND ended_at IS NULL AND stop IS NULL
