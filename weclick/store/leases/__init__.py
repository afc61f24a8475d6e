"""Leases: they say which run makes which entry."""
