-- The other names of work item $2 of project $1.
SELECT alias FROM work_item_aliases WHERE project = $1 AND key = $2 ORDER BY alias
