-- What was spent on the jobs $1, a JSON array of ids, is in the sums of their work items, chains and projects.
DELETE FROM spending WHERE scope = 'job' AND key IN (SELECT value FROM jsonb_array_elements_text($1::jsonb) AS c (value))
