SELECT min(available_at) FROM jobs INDEXED BY jobs_delayed WHERE status = 'queued' AND due = 0 AND available_at > ?1
