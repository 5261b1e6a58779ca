"""Images without the identity of their patients (DICOM PS3.15 annex E)."""

from __future__ import annotations

from napari_clipmed.deidentify.folder import Outcome, deidentify, files_below
from napari_clipmed.deidentify.rules import Disguise, clean

__all__ = ["Disguise", "Outcome", "clean", "deidentify", "files_below"]
