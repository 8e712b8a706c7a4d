-- Holds the runs $1: [run, …], so that none is renewed between the count that is read next and what is written for it.
SELECT id FROM runs WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))) ORDER BY id FOR UPDATE
