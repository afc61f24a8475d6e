"""The toy data set: a procedural street."""
