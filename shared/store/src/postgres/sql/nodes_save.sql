-- $1: [[id, incarnation, boot_id, advertise_url, state, slots, labels, account, preflight_ok, preflight_version,
--       preflight_checked_at, preflight_error, last_seen_at, preflight_program, preflight_note, containment], …]
INSERT INTO runners (id, incarnation, boot_id, advertise_url, state, slots, labels, account, preflight_ok,
                     preflight_version, preflight_checked_at, preflight_error, last_seen_at, preflight_program,
                     preflight_note, containment)
SELECT c.value ->> 0, (c.value ->> 1)::bigint, c.value ->> 2, c.value ->> 3, c.value ->> 4, (c.value ->> 5)::bigint,
       c.value ->> 6, c.value ->> 7, (c.value ->> 8)::boolean, c.value ->> 9, (c.value ->> 10)::bigint,
       c.value ->> 11, (c.value ->> 12)::bigint, c.value ->> 13, c.value ->> 14, c.value ->> 15
FROM jsonb_array_elements($1::jsonb) AS c (value)
ON CONFLICT (id) DO UPDATE
SET incarnation = excluded.incarnation, boot_id = excluded.boot_id, advertise_url = excluded.advertise_url,
    state = excluded.state, slots = excluded.slots, labels = excluded.labels, account = excluded.account,
    preflight_ok = excluded.preflight_ok, preflight_version = excluded.preflight_version,
    preflight_checked_at = excluded.preflight_checked_at, preflight_error = excluded.preflight_error,
    last_seen_at = excluded.last_seen_at, preflight_program = excluded.preflight_program,
    preflight_note = excluded.preflight_note, containment = excluded.containment
WHERE runners.incarnation <= excluded.incarnation
