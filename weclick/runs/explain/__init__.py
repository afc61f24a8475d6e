"""Says why the store has or lacks an entry."""
