"""Simulated biplane cerebral angiograms, every one of which carries its truth."""
