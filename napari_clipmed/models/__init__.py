"""Networks and the registry that keeps their weights."""
