"""Answers about one study: preprocessing, device, cached features, classes, saliency and masks."""
