"""Data sets, objectives, splits, metrics, training loops and fine-tuning."""
