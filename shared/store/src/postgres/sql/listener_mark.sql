SELECT current_setting('orch.listener', true)
