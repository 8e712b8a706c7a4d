SELECT paused, config_error FROM meta
