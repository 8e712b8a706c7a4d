-- Forgets the cursors of projects of which no sighting is left; ?1: [project, …], those that are configured.
DELETE FROM cursors
WHERE project NOT IN (SELECT value FROM json_each(?1))
  AND NOT EXISTS (SELECT 1 FROM sightings AS s WHERE s.project = cursors.project)
