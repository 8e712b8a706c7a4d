UPDATE meta SET config_error = ?1 WHERE config_error IS NOT ?1
