SELECT moved_to FROM moved_destinations WHERE sink = $1 AND destination = $2
