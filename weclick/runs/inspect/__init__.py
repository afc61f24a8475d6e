"""Describes and draws the content of a file or an entry."""
