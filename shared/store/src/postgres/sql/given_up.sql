-- The newest jobs of status $1 that finished at $2 or later, at most $6: where they are given of project $3, of stage $4, and
-- with $5 in the reason they failed for.
SELECT id FROM jobs
WHERE status = $1 AND finished_at >= $2 AND ($3::text IS NULL OR project = $3) AND ($4::text IS NULL OR stage = $4)
  AND ($5::text IS NULL OR position(lower($5) IN lower(coalesce(failure_reason, ''))) > 0)
ORDER BY id DESC LIMIT $6
