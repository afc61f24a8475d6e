"""What a file or an entry holds."""
