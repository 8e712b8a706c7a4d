SELECT holder, number, beat, deadline FROM scheduler_term WHERE id = 1
