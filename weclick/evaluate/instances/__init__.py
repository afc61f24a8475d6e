"""Scores of instances: objects with a mask, a class and a score, on images and along videos."""
