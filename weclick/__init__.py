"""Weakly-supervised video segmentation from one click per object."""

__version__ = "0.1.0"
