-- The runs of the jobs $1 that are not wholly ended.
SELECT r.job_id, r.id, CASE WHEN r.state = 'ended' OR r.ended_at IS NOT NULL THEN 'half_ended' ELSE r.state END AS state
FROM jsonb_array_elements_text($1::jsonb) AS c (value) JOIN runs AS r ON r.job_id = c.value::bigint
WHERE r.ended_at IS NULL OR r.state <> 'ended'
ORDER BY r.epoch
