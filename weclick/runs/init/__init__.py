"""First steps with a folder of one's own: a data set and a configuration of it."""
