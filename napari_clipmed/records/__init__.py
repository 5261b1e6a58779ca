"""The annotation store: append-only revisions of labels, masks, prompts and verdicts."""
