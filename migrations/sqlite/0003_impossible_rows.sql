-- Rows that break an invariant got past the CHECKs: a file imported, restored, or written with the constraints
-- switched off. What claims read does not hold them, so that one of them never stands in the way of the others,
-- and those that show it by themselves are found without reading any healthy row.

DROP INDEX jobs_due;
CREATE INDEX jobs_due ON jobs (project, priority DESC, available_at, id, stage, work_item, own_prompt)
    WHERE status = 'queued' AND due = 1
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL;

DROP INDEX jobs_delayed;
CREATE INDEX jobs_delayed ON jobs (available_at, id)
    WHERE status = 'queued' AND due = 0
      AND run_id IS NULL AND cancel_requested_at IS NULL AND finished_at IS NULL AND failure_reason IS NULL;

-- Empty, unless somebody forced a row. The word for word same condition is in sanitize_suspects.sql.
CREATE INDEX jobs_impossible ON jobs (id)
    WHERE ((status = 'queued'
            AND (run_id IS NOT NULL OR cancel_requested_at IS NOT NULL OR finished_at IS NOT NULL
                 OR failure_reason IS NOT NULL))
        OR (status = 'running' AND run_id IS NULL)
        OR (status IN ('done', 'failed', 'cancelled')
            AND (run_id IS NOT NULL OR cancel_requested_at IS NOT NULL OR finished_at IS NULL OR due = 1
                 OR (status = 'failed') <> (failure_reason IS NOT NULL))));
CREATE INDEX runs_half_ended ON runs (job_id) WHERE (state = 'ended') <> (ended_at IS NOT NULL);
