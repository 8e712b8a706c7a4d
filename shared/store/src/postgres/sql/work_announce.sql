NOTIFY orch_work
