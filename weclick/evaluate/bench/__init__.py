"""Benchmarks of flow estimators and students."""
