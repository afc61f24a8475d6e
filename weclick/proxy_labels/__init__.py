"""Labels beside clicks that networks learn from: class maps, and what one network makes for another."""
