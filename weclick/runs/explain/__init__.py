"""Why the store has an entry, or has it not."""
