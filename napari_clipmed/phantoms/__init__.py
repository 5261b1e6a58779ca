"""Simulated studies with ground truth."""
