"""Pictures that the workspace keeps, so that fine-tuning never needs the original files again.

A snapshot is what the model reads, before the model's own size: frames chosen, windowed over the whole run,
vessels dark, shrunk to a longer side of 256 (runs) or 512 (single frames) pixels, uint8, without identity.
Text burned into the pixels stays where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.inference.classify import assign_views
from napari_clipmed.inference.preprocess import (
    Preprocessing,
    fit_frames,
    normalise,
    percentile_window,
    sample_frames,
    vessels_are_bright,
    window_greys,
)
from napari_clipmed.records import Store
from napari_clipmed.study import Study, View

if TYPE_CHECKING:
    from torch import Tensor

RUN_SIDE, FRAME_SIDE = 256, 512
"""Longer side of a stored run and of a stored single frame, in pixels."""

RUN_FRAMES = 16


def frame_name(view_index: int, frame: int) -> str:
    """Name of a single stored frame."""
    return f"frame/{view_index}/{frame}"


def save_diagnosis_inputs(store: Store, case: str, study: Study) -> None:
    """Keep the runs of a study, under "AP" and "LA", as the diagnosis model reads them.

    Parameters
    ----------
    store : Store
        Open for writing.
    case : str
        Id of the study's case.
    study : Study
        The study; its views are assigned as `inference.Engine.classify` assigns them.
    """
    index, _ = assign_views(study)
    store.save_inputs(case, {name: run_snapshot(study.views[i]) for name, i in index.items()})


def save_segmentation_inputs(store: Store, case: str, view: View, view_index: int, frame: int) -> None:
    """Keep one frame (or film) that a mask was drawn on, as the segmentation model reads it."""
    store.save_inputs(case, {frame_name(view_index, frame): frame_snapshot(view, frame)})


def run_snapshot(view: View) -> NDArray[np.uint8]:
    """At most 16 frames of a run, windowed, vessels dark: (t, h, w), longer side at most 256."""
    pixels = view.pixels
    low, high = percentile_window(pixels)
    greys = window_greys(pixels[np.unique(sample_frames(len(pixels), RUN_FRAMES))], low, high)
    if view.subtracted and vessels_are_bright(pixels):
        greys = 1.0 - greys
    return _shrink(greys, RUN_SIDE)


def frame_snapshot(view: View, frame: int) -> NDArray[np.uint8]:
    """One frame, windowed by itself as the segmentation model sees it: (h, w), longer side at most 512."""
    pixels = view.pixels[frame]
    return _shrink(window_greys(pixels, *percentile_window(pixels))[None], FRAME_SIDE)[0]


def _shrink(greys: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    import torch
    from torch.nn import functional

    frames = torch.from_numpy(np.ascontiguousarray(greys))[:, None]
    scale = side / max(frames.shape[-2:])
    if scale < 1:
        size = tuple(max(1, round(length * scale)) for length in frames.shape[-2:])
        frames = functional.interpolate(frames, size, mode="bilinear", antialias=True)
    return (frames[:, 0] * 255).round().to(torch.uint8).numpy()


def read_run(stored: NDArray[np.uint8], preprocessing: Preprocessing) -> tuple[Tensor, NDArray[np.int64]]:
    """A stored run as the network reads it.

    Returns
    -------
    images : (u, 3, S, S) float32 tensor
        Each stored frame that is needed, once.
    repeats : (n_frames,) int64 array
        Which of them stands at each of the network's places.
    """
    index, repeats = np.unique(sample_frames(len(stored), preprocessing.n_frames), return_inverse=True)
    return _read(stored[index], preprocessing), repeats.astype(np.int64)


def read_frame(stored: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    """A stored frame as the network reads it, (3, S, S) float32."""
    return _read(stored[None], preprocessing)[0]


def read_target(mask: NDArray[np.bool_], preprocessing: Preprocessing) -> Tensor:
    """A mask on the network's square, (1, S, S) float32 of 0 and 1."""
    import torch

    greys = torch.from_numpy(mask.astype(np.float32))[None]
    return (fit_frames(greys, preprocessing.size, preprocessing.fit, pad=0.0) >= 0.5).float()


def _read(stored: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    import torch

    greys = torch.from_numpy(stored.astype(np.float32) / 255)
    return normalise(fit_frames(greys, preprocessing.size, preprocessing.fit), preprocessing)


def runs_of(names: frozenset[str] | Mapping[str, object]) -> list[str]:
    """Which runs there are among the names of a case's stored arrays."""
    return [name for name in ("AP", "LA") if name in names]
