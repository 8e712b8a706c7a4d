-- The operator's word that a runner's host is gone: no session of this incarnation or an older one is heard again.
CREATE TABLE lost_runners (
    id          TEXT    PRIMARY KEY NOT NULL CHECK (id <> ''),
    incarnation INTEGER NOT NULL,
    declared_at INTEGER NOT NULL
) STRICT;
