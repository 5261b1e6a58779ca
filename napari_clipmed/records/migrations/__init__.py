"""Alembic migrations of the annotation store, run whenever a workspace is opened for writing."""
