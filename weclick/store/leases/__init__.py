"""Leases: who makes which entry."""
