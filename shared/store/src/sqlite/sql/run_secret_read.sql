SELECT run_secret FROM meta
