"""DICOM Secondary Capture: the picture that was seen, marked in its pixels and in its header."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from reviewed_studies import SECRETS, Reviewed, complaints, reviewed_run

from napari_clipmed.errors import ClipmedError
from napari_clipmed.export.look import shown
from napari_clipmed.export.overlay import heat_on
from napari_clipmed.inference.results import Diagnosis, Saliency, ViewAttention
from napari_clipmed.outputs.capture import SMALLEST_SIDE, check_capture, mask_captures, saliency_captures

FACTOR = -(-SMALLEST_SIDE // 37)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SYNTHETIC_DATA = "(0008,001c)"
"""Synthetic Data came into the standard in 2023; the validator that Debian ships is of 2022."""


def saved(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def answer_of(found: Reviewed) -> tuple[Diagnosis, Saliency]:
    """A made-up answer about both planes."""
    names, labels = ("AP", "LA"), ("MMD", "IA")
    frames = np.array([0, 2, 5])
    diagnosis = Diagnosis(
        labels, labels, {"both": {"MMD": 0.8, "IA": 0.2}},
        {name: ViewAttention(np.full(3, 1 / 3, np.float32), frames) for name in names},
        {"AP": 0, "LA": 1}, "clip-dsa-compact", found.study.image_hash, model_version="cd" * 32,
    )  # fmt: skip
    maps = {name: np.linspace(0, 1, 3 * 49, dtype=np.float32).reshape(3, 7, 7) for name in names}
    boxes = dict.fromkeys(names, (0.0, 0.0, 37.0, 45.0))
    return diagnosis, Saliency("MMD", "layercam", maps, dict.fromkeys(names, frames), boxes)


def test_masks_of_a_run_make_a_capture_of_its_frames(run: Reviewed, tmp_path: Path) -> None:
    ap, _ = mask_captures(run.store, run.case, run.study)
    read = dcmread(saved(ap, tmp_path / "ap.dcm"))
    assert read.pixel_array.shape == (2, 37 * FACTOR, 45 * FACTOR, 3)
    assert list(read.ImageType) == ["DERIVED", "SECONDARY"]
    assert list(read.SourceImageSequence[0].ReferencedFrameNumber) == [2, 5]
    assert list(read.FrameTimeVector) == [0, 750]
    assert "Research use only" in read.DerivationDescription
    assert read.BurnedInAnnotation == "YES"  # the source does not say, so nobody knows
    check_capture(read, ap)
    read.PixelData = bytes([read.PixelData[0] ^ 1]) + read.PixelData[1:]
    with pytest.raises(ClipmedError, match="does not read back"):
        check_capture(read, ap)


def test_outlines_are_where_the_masks_are(film: Reviewed) -> None:
    film.store.add_mask(film.case, 0, 0, np.zeros((51, 43), bool), name="left lung")
    square = np.zeros((51, 43), bool)
    square[30:40, 20:30] = True
    film.store.add_mask(film.case, 0, 0, square, name="square")
    (capture,) = mask_captures(film.store, film.case, film.study)
    factor = -(-SMALLEST_SIDE // 43)
    orange = np.all(capture.pixel_array == (230, 159, 0), axis=-1)[::factor, ::factor]
    assert orange[29, 20:30].all()
    assert not orange[31:39, 21:29].any()
    assert "NumberOfFrames" not in capture


@pytest.mark.parametrize("simulated", [True, False])
def test_words_are_burned_in(tmp_path: Path, simulated: bool) -> None:
    found = reviewed_run(tmp_path / "s", synthetic=simulated)
    diagnosis, saliency = answer_of(found)
    captures = saliency_captures(found.study, diagnosis, saliency, NOW)
    for name, view, capture in zip(("AP", "LA"), found.study.views, captures, strict=True):
        heated = heat_on(
            shown(view, view.pixels[2], view.window), saliency.maps[name][1], saliency.boxes[name]
        )
        bare = heated.repeat(FACTOR, axis=0).repeat(FACTOR, axis=1)
        letters = np.any(capture.pixel_array[1] != bare, axis=-1)
        assert letters[:30].sum() > 500
        assert not letters[40:-30].any()
        assert bool(letters[-30:, :120].sum() > 200) is simulated
        assert not letters[:, -5:].any()  # whole, not cut off
        assert capture.SeriesDescription.endswith("AI saliency, research use only")
        assert capture.SeriesDescription.startswith("SIMULATED") is simulated
        assert capture.DerivationDescription.startswith(
            "AI saliency: layercam of class MMD by clip-dsa-compact"
        )
        assert capture.get("SyntheticData") == ("YES" if simulated else None)
        assert capture.BurnedInAnnotation == ("NO" if simulated else "YES")


@pytest.mark.parametrize("with_identity", [False, True])
@pytest.mark.parametrize("which", ["run", "film", "simulated"])
def test_the_validator_has_no_complaint(
    which: str, with_identity: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    simulated = which == "simulated"
    found = reviewed_run(tmp_path / "s", synthetic=True) if simulated else request.getfixturevalue(which)
    captures = mask_captures(found.store, found.case, found.study, with_identity=with_identity)
    if which != "film":
        captures += saliency_captures(found.study, *answer_of(found), NOW, with_identity=with_identity)
    for capture in captures:
        path = saved(capture, tmp_path / "sc.dcm")
        left = [line for line in complaints(path) if not (simulated and SYNTHETIC_DATA in line)]
        assert left == []
        content = path.read_bytes()
        assert any(secret.encode() in content for secret in SECRETS) is with_identity
