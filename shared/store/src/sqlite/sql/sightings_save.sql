-- A row: ?1 project, ?2 subject, ?3 aspect, ?4 value, ?5 words, ?6 version, ?7 own, ?8 teller, ?9 at. Each sighting once.
INSERT INTO sightings (project, subject, aspect, value, words, version, own, teller, at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (project, subject, aspect) DO UPDATE
SET value = excluded.value, words = excluded.words, version = excluded.version, own = excluded.own, teller = excluded.teller,
    at = excluded.at
