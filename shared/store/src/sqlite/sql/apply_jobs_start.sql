-- A row: ?1 id; ?2 status, ?3 run and ?4 revision as expected; ?5 now. Each job once: running jobs whose run starts. Nothing
-- else of them changes, so no indexed column is set and no index rewritten.
-- A row that says anything but what is expected is left alone and not returned.
UPDATE jobs SET updated_at = ?5, revision = revision + 1
WHERE id = ?1 AND status = ?2 AND run_id IS ?3 AND revision = ?4
RETURNING id
