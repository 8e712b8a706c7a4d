-- ?1: [[id, job_id, epoch, node, incarnation, account, offered_at, opening, probe, resumed_session,
--       aside_usd_micros, aside_tokens], …]
INSERT INTO runs (id, job_id, epoch, node, incarnation, account, state, offered_at, opening, probe, resumed_session,
                  aside_usd_micros, aside_tokens)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, 'offered', value ->> 6, value ->> 7,
       value ->> 8, value ->> 9, value ->> 10, value ->> 11
FROM json_each(?1)
