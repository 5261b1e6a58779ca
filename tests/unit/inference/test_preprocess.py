"""Frames keep their contrast, their shape and their way back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_studies import bolus

from napari_clipmed.errors import ModelError
from napari_clipmed.inference.preprocess import (
    PAD_GREY,
    Preprocessing,
    fit_boxes,
    fit_frames,
    normalise,
    percentile_window,
    prepare_run,
    sample_frames,
    unfit_map,
    vessels_are_bright,
    window_greys,
)


def test_sixteen_frames_are_spread_evenly_and_short_runs_repeat() -> None:
    assert sample_frames(31, 16).tolist() == list(range(0, 31, 2))
    assert sample_frames(1, 4).tolist() == [0, 0, 0, 0]
    assert sample_frames(3, 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert sample_frames(96, 16)[[0, -1]].tolist() == [0, 95]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_the_window_is_that_of_the_whole_run(dtype: type) -> None:
    run = np.repeat(np.arange(100, dtype=dtype)[:, None, None], 25, axis=1)
    low, high = percentile_window(run, (5, 95))
    assert (low, high) == pytest.approx(np.percentile(run, (5, 95)), abs=1)


def test_a_constant_or_broken_picture_has_a_window_all_the_same() -> None:
    assert percentile_window(np.full((2, 3, 3), 7, np.uint16)) == (7, 8)
    assert percentile_window(np.full((2, 3, 3), np.nan, np.float32)) == (0, 1)
    greys = window_greys(np.array([np.nan, np.inf, -np.inf, 0.5], np.float32), 0, 1)
    assert greys.tolist() == [0, 1, 0, 0.5]


def test_grey_values_beyond_eight_bits_are_not_clipped() -> None:
    ramp = np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(1, 64, 64)
    frames = prepare_run(ramp, Preprocessing(size=64, percentiles=(0, 100))).frames
    assert np.unique(frames.numpy().round(3)).size > 900


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([32, 224]))
def test_box_and_field_are_each_others_way_back(height: int, width: int, size: int) -> None:
    box, field = fit_boxes(height, width, size, "longest")
    across = size / (field.column1 - field.column0)
    down = size / (field.row1 - field.row0)
    assert (0 - field.row0) * down == pytest.approx(box.row0, abs=1e-6)
    assert (height - field.row0) * down == pytest.approx(box.row1, abs=1e-6)
    assert (width - field.column0) * across == pytest.approx(box.column1, abs=1e-6)
    assert max(box.row1 - box.row0, box.column1 - box.column0) == size


def test_a_wide_frame_is_padded_above_and_below_and_a_mark_comes_back_to_its_place() -> None:
    frame = torch.zeros(1, 60, 120)
    frame[0, 45:51, 80:86] = 1
    fitted = fit_frames(frame, 64)
    assert fitted.shape == (1, 64, 64)
    assert torch.all(fitted[0, :16] == PAD_GREY)
    assert torch.all(fitted[0, 48:] == PAD_GREY)
    back = unfit_map(fitted[0], 60, 120, 64, "longest")
    assert back.shape == (60, 120)
    row, column = np.unravel_index(int(back.argmax()), back.shape)
    assert (row, column) == (pytest.approx(48, abs=1.5), pytest.approx(83, abs=1.5))


def test_squash_fills_the_square() -> None:
    assert fit_frames(torch.ones(2, 10, 40), 32, "squash").min() == pytest.approx(1)


def test_a_map_of_lower_resolution_comes_back_centred() -> None:
    small = torch.zeros(8, 8)
    small[6, 2] = 1  # centre at (0.8125, 0.3125) of the square
    back = unfit_map(small, 128, 128, 64, "longest")
    centre = (
        back[..., None] * torch.stack(torch.meshgrid(*[torch.arange(128.0)] * 2, indexing="ij"), -1)
    ).sum((0, 1)) / back.sum()
    assert centre.tolist() == pytest.approx([0.8125 * 128 - 0.5, 0.3125 * 128 - 0.5], abs=0.6)


def test_short_runs_are_read_once_a_frame() -> None:
    prepared = prepare_run(bolus(3), Preprocessing(size=32))
    assert prepared.frames.shape == (3, 32, 32)
    assert prepared.index.tolist() == [0, 1, 2]
    assert prepared.repeats.tolist() == sorted(prepared.repeats.tolist())
    assert len(prepared.repeats) == 16


def test_three_equal_channels_with_the_statistics_of_clip() -> None:
    prep = Preprocessing()
    images = normalise(torch.full((2, 4, 4), 0.5), prep)
    assert images.shape == (2, 3, 4, 4)
    assert images[0, :, 0, 0].tolist() == pytest.approx(
        [(0.5 - m) / s for m, s in zip(prep.mean, prep.std, strict=True)]
    )


def test_bright_vessels_are_noticed_and_dark_ones_left_alone() -> None:
    run = bolus(16, 96, 96)
    assert not vessels_are_bright(run)
    assert vessels_are_bright(255 - run)
    assert vessels_are_bright(255 - run[8:9])
    assert not vessels_are_bright(run[8:9])
    assert not vessels_are_bright(np.full((4, 16, 16), 3, np.uint8))
    dark = prepare_run(run, Preprocessing(size=64))
    turned = prepare_run(255 - run, Preprocessing(size=64), invert=True)
    assert torch.allclose(dark.frames, turned.frames, atol=0.02)


def test_real_angiograms_have_dark_vessels(shared_data: Path) -> None:
    import pydicom

    for name in ("AS-AP", "AS-LA", "MMD-AP", "MMD-LA"):
        pixels = pydicom.dcmread(shared_data / "dsa" / "sequences" / f"{name}.dcm").pixel_array
        assert not vessels_are_bright(pixels), name
        assert vessels_are_bright(255 - pixels), name


def test_a_card_gives_its_preprocessing_back_and_nonsense_is_refused() -> None:
    prep = Preprocessing(size=160, fit="squash", percentiles=(1, 99))
    assert Preprocessing.from_card(prep.to_card() | {"comment": "extra"}) == prep
    assert Preprocessing.from_card({"size": 96, "mean": [0, 0, 0]}).mean == (0, 0, 0)
    with pytest.raises(ModelError, match="makes no sense"):
        Preprocessing.from_card({"fit": "crop"})
