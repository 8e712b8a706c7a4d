-- $1: [[id, job_id, epoch, node, incarnation, account, offered_at, opening, probe, resumed_session,
--       aside_usd_micros, aside_tokens], …]
INSERT INTO runs (id, job_id, epoch, node, incarnation, account, state, offered_at, opening, probe, resumed_session,
                  aside_usd_micros, aside_tokens)
SELECT c.value ->> 0, (c.value ->> 1)::bigint, (c.value ->> 2)::bigint, c.value ->> 3, (c.value ->> 4)::bigint,
       c.value ->> 5, 'offered', (c.value ->> 6)::bigint, (c.value ->> 7)::bigint, (c.value ->> 8)::boolean,
       c.value ->> 9, (c.value ->> 10)::bigint, (c.value ->> 11)::bigint
FROM jsonb_array_elements($1::jsonb) AS c (value)
