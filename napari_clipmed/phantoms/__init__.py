"""Simulated studies with ground truth: angiograms (`dsa`) and chest films (`cxr`)."""

from __future__ import annotations

from napari_clipmed.phantoms.dsa import Truth, load_truth, sample_study, write_dsa_phantoms

__all__ = ["Truth", "load_truth", "sample_study", "write_dsa_phantoms"]
