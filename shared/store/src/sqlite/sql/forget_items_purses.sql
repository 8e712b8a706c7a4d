-- What was spent on the work items ?1, a JSON array of their keys here.
DELETE FROM spending WHERE scope = 'item' AND key IN (SELECT value FROM json_each(?1))
