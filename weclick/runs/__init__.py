"""Whole runs: plan, doctor, explain, inspect, report, lock, reproduce, experiments."""
