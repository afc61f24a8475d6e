"""Training: from a recipe to a network in the store."""
