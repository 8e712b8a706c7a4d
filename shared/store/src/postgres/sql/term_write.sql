-- $1: holder, $2: number, $3: beat, $4: deadline; if the row still has the number $5 and the beat $6
UPDATE scheduler_term SET holder = $1, number = $2, beat = $3, deadline = $4
WHERE id = 1 AND number = $5 AND beat = $6
RETURNING beat
