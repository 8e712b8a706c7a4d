-- ?1: [run, …]. Whoever writes is alone here, so nothing need be held.
SELECT value FROM json_each(?1) WHERE false
