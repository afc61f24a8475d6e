"""Plans a run: what it will cost."""
