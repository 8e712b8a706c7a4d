SELECT source, last_at FROM sources ORDER BY source
