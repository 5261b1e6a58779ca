"""Simulated biplane cerebral angiograms, every one of which carries its truth."""

from __future__ import annotations

from napari_clipmed.phantoms.dsa.sample import sample_study, simulate_sample
from napari_clipmed.phantoms.dsa.study import SimulatedStudy, simulate_study
from napari_clipmed.phantoms.dsa.truth import Truth, ViewTruth, load_truth
from napari_clipmed.phantoms.dsa.writer import write_dsa_phantoms

__all__ = [
    "SimulatedStudy",
    "Truth",
    "ViewTruth",
    "load_truth",
    "sample_study",
    "simulate_sample",
    "simulate_study",
    "write_dsa_phantoms",
]
