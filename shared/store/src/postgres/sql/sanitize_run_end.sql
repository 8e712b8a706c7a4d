-- Ends run $1 at $2 as lost for the reason $3; of one that is half ended, what it says of its end is kept.
UPDATE runs
SET state = 'ended',
    ended_at = coalesce(ended_at, $2),
    class = CASE WHEN ended_at IS NOT NULL AND class IS NOT NULL THEN class ELSE 'lost' END,
    reason = CASE WHEN ended_at IS NOT NULL AND reason IS NOT NULL THEN reason ELSE $3 END
WHERE id = $1
