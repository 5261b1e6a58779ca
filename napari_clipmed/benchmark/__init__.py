"""Speed and memory, measured against plainly stated baselines in one process, and how both grow."""
