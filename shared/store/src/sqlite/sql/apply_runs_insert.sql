-- A row: ?1 id, ?2 job_id, ?3 epoch, ?4 node, ?5 incarnation, ?6 account, ?7 offered_at, ?8 opening, ?9 probe,
-- ?10 resumed_session, ?11 aside_usd_micros, ?12 aside_tokens.
INSERT INTO runs (id, job_id, epoch, node, incarnation, account, state, offered_at, opening, probe, resumed_session,
                  aside_usd_micros, aside_tokens)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'offered', ?7, ?8, ?9, ?10, ?11, ?12)
