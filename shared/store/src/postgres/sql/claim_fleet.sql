-- Notes what any further job waits for: $1 is [reason, until], or NULL.
UPDATE meta SET fleet_waits = $1
