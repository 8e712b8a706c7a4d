-- The newest jobs of status ?1 that finished at ?2 or later, at most ?6: where they are given of project ?3, of stage ?4, and
-- with ?5 in the reason they failed for.
SELECT id FROM jobs INDEXED BY jobs_status
WHERE status = ?1 AND finished_at >= ?2 AND (?3 IS NULL OR project = ?3) AND (?4 IS NULL OR stage = ?4)
  AND (?5 IS NULL OR instr(lower(coalesce(failure_reason, '')), lower(?5)) > 0)
ORDER BY id DESC LIMIT ?6
