"""`weclick ask`: which click next, by the present student, and what the answers say of it."""
