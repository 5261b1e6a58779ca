"""Whether a model answers in a shorter number format as it does in float32; if not, it gets float32.

Speed must not change an answer: the fastest format is taken whose probabilities, on studies made to be
awkward (noise, faint and strong vessels), stay close to those of float32. A card may hold what was measured
when the model was made; else it is measured once on each machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from napari_clipmed.inference import classify
from napari_clipmed.inference.device import Compute
from napari_clipmed.inference.frame_reader import FrameReader
from napari_clipmed.inference.measured_once import MeasuredOnce
from napari_clipmed.inference.preprocess import Preprocessing, normalise
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.loading import load_network
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.models.clip_dsa import ClipDSA

PROMISED = 0.01
"""No probability differs by more from that in float32."""

ACCEPTED = PROMISED / 2
"""What is accepted on a few studies, so that the promise holds for others too."""

AGREEMENTS = MeasuredOnce("precision")
_PROBES, _FRAMES, _CHUNK = 4, 3, 8

Images = Mapping[str, Tensor]
"""Frames (t, 3, S, S) of "AP" and "LA", normalised."""


def settle(entry: ModelEntry, compute: Compute, progress: Progress | None = None) -> Compute:
    """The same place with the fastest precision in which a diagnosis model agrees with float32.

    Parameters
    ----------
    entry : ModelEntry
    compute : Compute
        A precision that was asked for stays.
    progress : Progress, optional
        Told when something must be measured.
    """
    if not compute.open:
        return compute
    return fastest(compute, lambda tried: _difference(entry, tried, progress or Progress()))


def fastest(compute: Compute, difference: Callable[[Compute], float]) -> Compute:
    """The fastest precision whose difference from float32 is accepted, float32 where none is."""
    tried = map(compute.exactly, compute.faster_first())
    return next((one for one in tried if difference(one) <= ACCEPTED), compute.exactly("fp32"))


def _difference(entry: ModelEntry, compute: Compute, progress: Progress) -> float:
    if compute.precision in entry.card.agreement:
        return entry.card.agreement[compute.precision]
    name = AGREEMENTS.name(compute.device, compute.precision, entry.card.sha256)
    known = AGREEMENTS.recall(name)
    if isinstance(known, float) and known >= 0:
        return known
    progress.step("Measuring this computer, once for each model")
    preprocessing = Preprocessing.from_card(entry.card.preprocessing)
    network, twin = (cast("ClipDSA", load_network(entry)) for _ in range(2))
    studies = probe_studies(preprocessing)
    difference = largest_difference(network, twin, compute, studies, entry.card.calibration)
    AGREEMENTS.remember(name, difference)
    return difference


def largest_difference(
    network: ClipDSA,
    twin: ClipDSA,
    compute: Compute,
    studies: Iterable[Images],
    calibration: Mapping[str, Any],
) -> float:
    """How far the probabilities of a precision are from those of float32 at most.

    Parameters
    ----------
    network, twin : ClipDSA
        The same network twice; both are frozen.
    compute : Compute
        With the precision in question.
    studies : iterable of mapping
    calibration : mapping
        Of the card: a low temperature makes small differences large.
    """
    fine, fast = FrameReader(network, compute.exactly("fp32")), FrameReader(twin, compute)
    largest = 0.0
    with torch.inference_mode():
        for images in studies:
            exact, found = (_answers(reader, images, calibration) for reader in (fine, fast))
            differences = (np.abs(exact[name] - found[name]).max() for name in exact)
            largest = max(largest, *map(float, differences))
    return largest


def probe_studies(preprocessing: Preprocessing) -> Iterator[Images]:
    """Awkward biplane studies, always the same: vessels from faint to strong in noise from weak to strong."""
    for seed in range(_PROBES):
        yield {
            name: normalise(torch.from_numpy(_drawn_run(10 * seed + side, preprocessing.size)), preprocessing)
            for side, name in enumerate(classify.VIEWS)
        }


def _answers(
    reader: FrameReader, images: Images, calibration: Mapping[str, Any]
) -> dict[str, NDArray[np.float64]]:
    maps = {name: reader.read_run(some, _CHUNK)[0] for name, some in images.items()}
    return classify.answer(reader.network, maps, calibration)[0]


def _drawn_run(seed: int, size: int) -> NDArray[np.float32]:
    """Dark branches that fill, in noise, on uneven ground: (frames, size, size) in [0, 1]."""
    rng = np.random.default_rng(seed)
    contrast, noise = rng.uniform(0.1, 0.9), rng.uniform(0.01, 0.25)
    angles = np.cumsum(rng.normal(0.0, 0.15, (8, size)), axis=1) + rng.uniform(0, 2 * np.pi, (8, 1))
    paths = size / 2 + np.cumsum([np.sin(angles), np.cos(angles)], axis=2) * rng.uniform(0.2, 1.0)
    rows, columns = np.clip(paths, 0, size - 1).astype(np.int64)
    ground = 0.8 + gaussian_filter(rng.normal(size=(size, size)), size / 8) * size / 40
    frames = np.empty((_FRAMES, size, size), dtype=np.float32)
    for k in range(_FRAMES):
        filled = slice(0, size * (k + 1) // _FRAMES)
        vessels = np.zeros((size, size))
        vessels[rows[:, filled], columns[:, filled]] = 1.0
        dark = contrast * np.minimum(1.0, 4.0 * gaussian_filter(vessels, size / 150))
        frames[k] = np.clip(ground * (1.0 - dark) + rng.normal(0.0, noise, (size, size)), 0.0, 1.0)
    return frames
