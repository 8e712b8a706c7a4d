SELECT id, incarnation FROM lost_runners ORDER BY id
