-- Hours of which no forgotten run is left.
DELETE FROM ended_runs WHERE runs <= 0
