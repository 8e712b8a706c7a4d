-- ?1: [[id, incarnation, boot_id, advertise_url, state, slots, labels, account, preflight_ok, preflight_version,
--       preflight_checked_at, preflight_error, last_seen_at, preflight_program, preflight_note, containment], …]
INSERT INTO runners (id, incarnation, boot_id, advertise_url, state, slots, labels, account, preflight_ok,
                     preflight_version, preflight_checked_at, preflight_error, last_seen_at, preflight_program,
                     preflight_note, containment)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
       value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15
FROM json_each(?1) WHERE true
ON CONFLICT (id) DO UPDATE
SET incarnation = excluded.incarnation, boot_id = excluded.boot_id, advertise_url = excluded.advertise_url,
    state = excluded.state, slots = excluded.slots, labels = excluded.labels, account = excluded.account,
    preflight_ok = excluded.preflight_ok, preflight_version = excluded.preflight_version,
    preflight_checked_at = excluded.preflight_checked_at, preflight_error = excluded.preflight_error,
    last_seen_at = excluded.last_seen_at, preflight_program = excluded.preflight_program,
    preflight_note = excluded.preflight_note, containment = excluded.containment
WHERE runners.incarnation <= excluded.incarnation
