SELECT paused FROM meta
