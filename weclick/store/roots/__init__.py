"""Roots: folders and buckets, and copies between them."""
