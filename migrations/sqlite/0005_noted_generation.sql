-- The generation that a scheduler last claimed under. Another one now: the database was restored or moved since, and
-- agents of before may live until their lease is over.
ALTER TABLE meta ADD COLUMN noted_generation INTEGER;
