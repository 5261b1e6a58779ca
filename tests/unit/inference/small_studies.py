"""Studies made in memory for the inference tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.study import (
    DisplayWindow,
    FrameTiming,
    Kind,
    PixelSpacing,
    Projection,
    Source,
    Study,
    View,
)


def bolus(n_frames: int = 20, height: int = 80, width: int = 80, seed: int = 0) -> NDArray[np.uint8]:
    """A dark tree that fills and empties on bright, noisy ground, (T, H, W)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / (height, width, 1)[0]
    tree = np.exp(-(((columns - 0.5 - 0.2 * np.sin(6 * rows)) / 0.03) ** 2))
    flow = np.exp(-(((np.arange(n_frames) - n_frames / 2) / max(n_frames / 6, 1)) ** 2))
    run = 200 - 130 * flow[:, None, None] * tree + rng.normal(0, 3, (n_frames, height, width))
    return np.clip(run, 0, 255).astype(np.uint8)


def make_view(
    pixels: NDArray[np.generic],
    projection: Projection = Projection.AP,
    *,
    subtracted: bool = True,
    modality: str = "XA",
) -> View:
    times = np.arange(len(pixels)) * 250.0
    return View(
        projection=projection,
        pixels=pixels,
        timing=FrameTiming(times, "Frame Time", known=True),
        spacing=PixelSpacing(),
        window=DisplayWindow(float(pixels.min()), float(pixels.max()) + 1),
        source=Source(path="x.dcm", modality=modality),
        subtracted=subtracted,
    )


def make_study(*views: View, kind: Kind = Kind.ANGIOGRAM, synthetic: bool = False) -> Study:
    return Study(views=views, kind=kind, synthetic=synthetic)
