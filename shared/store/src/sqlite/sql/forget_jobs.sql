-- The jobs ?1, a JSON array of ids, with all that is kept of each alone.
DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(?1))
