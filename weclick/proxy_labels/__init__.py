"""Labels that a network makes for another one."""
