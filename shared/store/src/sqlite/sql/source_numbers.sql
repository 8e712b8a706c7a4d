-- The highest number ever given, by table.
SELECT name, seq FROM sqlite_sequence
