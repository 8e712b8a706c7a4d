SELECT payload FROM job_payloads WHERE job_id = $1
