-- $1: [[project, subject, aspect, value, words, version, own, teller, at], …], each sighting once.
INSERT INTO sightings (project, subject, aspect, value, words, version, own, teller, at)
SELECT c.value ->> 0, c.value ->> 1, c.value ->> 2, c.value ->> 3, c.value ->> 4, (c.value ->> 5)::bigint,
       (c.value ->> 6)::boolean, c.value ->> 7, (c.value ->> 8)::bigint
FROM jsonb_array_elements($1::jsonb) AS c (value)
ON CONFLICT (project, subject, aspect) DO UPDATE
SET value = excluded.value, words = excluded.words, version = excluded.version, own = excluded.own, teller = excluded.teller,
    at = excluded.at
