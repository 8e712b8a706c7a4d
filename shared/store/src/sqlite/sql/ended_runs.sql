SELECT hour, class, reason, runs, cost_usd FROM ended_runs WHERE hour >= ?1 ORDER BY hour, class, reason
