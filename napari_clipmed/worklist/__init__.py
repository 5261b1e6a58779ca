"""The list of studies to be read: what is on it, in which order, and which cases resemble one another."""
