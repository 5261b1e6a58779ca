"""Pixels and headers in, findings out: the reader of X-ray runs and films, and the writers of DICOM."""

from __future__ import annotations

from napari_clipmed.io.dicom_headers import is_dicom
from napari_clipmed.io.images import PICTURES, is_picture
from napari_clipmed.io.listing import StudyEntry, holds_several, list_studies
from napari_clipmed.io.overrule import Overrule, overruled, regrouped
from napari_clipmed.io.study_reader import first_picture, open_entry, open_study
from napari_clipmed.io.subtracted_frames import SubtractedFrames
from napari_clipmed.io.subtraction import resubtracted

__all__ = [
    "PICTURES",
    "Overrule",
    "StudyEntry",
    "SubtractedFrames",
    "first_picture",
    "holds_several",
    "is_dicom",
    "is_picture",
    "list_studies",
    "open_entry",
    "open_study",
    "overruled",
    "regrouped",
    "resubtracted",
]
