-- What is kept of what is over; ?1: how many deliveries are to be.
SELECT (SELECT coalesce(sum(jobs), 0) FROM job_counts WHERE status IN ('done', 'failed', 'cancelled')) AS finished,
       (SELECT coalesce(sum(jobs), 0) FROM forgotten_jobs) AS forgotten,
       (SELECT finished_at FROM jobs INDEXED BY jobs_finished WHERE finished_at IS NOT NULL AND finished_at > -1
        ORDER BY finished_at LIMIT 1) AS oldest_finished_at,
       (SELECT received_at FROM deliveries WHERE id <= (SELECT max(id) FROM deliveries) - ?1
        ORDER BY id DESC LIMIT 1) AS deliveries_full_at,
       (SELECT received_at FROM deliveries WHERE id > 0 ORDER BY id LIMIT 1) AS oldest_delivery_at
