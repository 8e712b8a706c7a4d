-- ?1: [[project, subject, aspect, value, words, version, own, teller, at], …], each sighting once.
INSERT INTO sightings (project, subject, aspect, value, words, version, own, teller, at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8
FROM json_each(?1) WHERE true
ON CONFLICT (project, subject, aspect) DO UPDATE
SET value = excluded.value, words = excluded.words, version = excluded.version, own = excluded.own, teller = excluded.teller,
    at = excluded.at
