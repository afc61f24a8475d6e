"""Labels that one network makes for another."""
