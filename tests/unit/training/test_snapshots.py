"""What the workspace keeps is what the engine would have read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_clipmed.inference.preprocess import Preprocessing, normalise, prepare_film, prepare_run
from napari_clipmed.study import (
    DisplayWindow,
    FrameTiming,
    PixelSpacing,
    Projection,
    Source,
    View,
)
from napari_clipmed.training.snapshots import (
    FRAME_SIDE,
    RUN_FRAMES,
    RUN_SIDE,
    frame_snapshot,
    read_frame,
    read_run,
    read_target,
    run_snapshot,
)


def view(n_frames: int, subtracted: bool = False, bright: bool = False) -> View:
    """A run of 600 × 400 frames in 12 bits in which something dark (or bright) comes and goes."""
    rng = np.random.default_rng(0)
    pixels = 2000 + 40 * gaussian_filter(rng.standard_normal((n_frames, 600, 400)), (0, 6, 6)) * 6
    for frame in range(n_frames):
        vessel = 1200 * np.exp(-(((frame - n_frames / 2) / (n_frames / 6)) ** 2))
        pixels[frame, 200:212, 80:320] += vessel if bright else -vessel
    return View(
        projection=Projection.AP,
        pixels=pixels.astype(np.uint16),
        timing=FrameTiming(np.arange(n_frames) * 1.0, "test", False),
        spacing=PixelSpacing(),
        window=DisplayWindow(0, 4095),
        source=Source("nowhere"),
        subtracted=subtracted,
    )


@pytest.mark.parametrize("n_frames", [1, 3, 16, 40])
@pytest.mark.parametrize("fit", ["longest", "squash"])
def test_a_stored_run_reads_as_the_engine_reads_it(n_frames: int, fit: str) -> None:
    run, wanted = view(n_frames), Preprocessing(size=160, n_frames=16, fit=fit)
    stored = run_snapshot(run)
    assert stored.dtype == np.uint8
    assert stored.shape == (min(n_frames, RUN_FRAMES), RUN_SIDE, round(RUN_SIDE * 400 / 600))
    images, repeats = read_run(stored, wanted)
    engine = prepare_run(run.pixels, wanted)
    np.testing.assert_array_equal(repeats, engine.repeats)
    difference = (images - normalise(engine.frames, wanted)).abs()
    assert difference.mean() < 0.06  # in units of CLIP's spread; resized twice, once
    assert (
        torch.corrcoef(torch.stack([images.flatten(), normalise(engine.frames, wanted).flatten()]))[0, 1]
        > 0.98
    )


def test_bright_vessels_are_stored_dark() -> None:
    dark, bright = (run_snapshot(view(20, subtracted=True, bright=b)).astype(float) for b in (False, True))
    middle = slice(86, 90)
    assert dark[8, middle, 60:110].mean() < 80
    assert bright[8, middle, 60:110].mean() < 80


def test_frame_and_mask_stay_on_top_of_each_other() -> None:
    run, wanted = view(9), Preprocessing(size=96)
    mask = np.zeros((600, 400), bool)
    mask[200:212, 80:320] = True
    stored = frame_snapshot(run, 4)
    assert max(stored.shape) == FRAME_SIDE
    image, target = read_frame(stored, wanted), read_target(mask, wanted)
    assert target.shape == (1, 96, 96)
    assert set(target.unique().tolist()) == {0.0, 1.0}
    assert image[0][target[0] > 0].mean() < image[0].mean() - 1
    engine = normalise(prepare_film(run.pixels[4], wanted), wanted)
    assert (image - engine).abs().mean() < 0.08
