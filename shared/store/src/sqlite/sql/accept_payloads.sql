-- A row: ?1 job_id, ?2 payload.
INSERT INTO job_payloads (job_id, payload) VALUES (?1, ?2)
