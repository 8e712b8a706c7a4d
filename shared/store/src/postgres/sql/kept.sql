-- What is kept of what is over; $1: how many deliveries are to be.
SELECT (SELECT coalesce(sum(jobs), 0)::bigint
        FROM (SELECT status, jobs FROM job_counts UNION ALL SELECT status, jobs FROM job_count_changes) AS known
        WHERE status IN ('done', 'failed', 'cancelled')) AS finished,
       (SELECT coalesce(sum(jobs), 0)::bigint FROM forgotten_jobs) AS forgotten,
       (SELECT finished_at FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at LIMIT 1) AS oldest_finished_at,
       (SELECT received_at FROM deliveries WHERE id <= (SELECT max(id) FROM deliveries) - $1
        ORDER BY id DESC LIMIT 1) AS deliveries_full_at,
       (SELECT received_at FROM deliveries ORDER BY id LIMIT 1) AS oldest_delivery_at
