SELECT name FROM conditions ORDER BY name
