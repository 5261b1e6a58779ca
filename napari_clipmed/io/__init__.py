"""Pixels and headers in, findings out."""
