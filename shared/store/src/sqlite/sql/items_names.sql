-- The other names of work item ?2 of project ?1.
SELECT alias FROM work_item_aliases INDEXED BY work_item_aliases_key WHERE project = ?1 AND key = ?2 ORDER BY alias
