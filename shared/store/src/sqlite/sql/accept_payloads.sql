-- ?1: [payload as text, …], of the consecutive jobs from ?2 on.
INSERT INTO job_payloads (job_id, payload) SELECT ?2 + key, value FROM json_each(?1)
