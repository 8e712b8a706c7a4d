UPDATE meta SET config_error = $1 WHERE config_error IS DISTINCT FROM $1
