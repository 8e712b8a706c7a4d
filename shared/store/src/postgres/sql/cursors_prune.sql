-- Forgets the cursors of projects of which no sighting is left; $1: [project, …], those that are configured.
DELETE FROM cursors
WHERE project NOT IN (SELECT value FROM jsonb_array_elements_text($1::jsonb) AS c (value))
  AND NOT EXISTS (SELECT 1 FROM sightings AS s WHERE s.project = cursors.project)
