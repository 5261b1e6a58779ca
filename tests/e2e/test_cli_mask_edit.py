"""Masks corrected on the command line, as the Edit section does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_clipmed.inference.mask_edit import grow


def saved(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def loaded(path: Path | str) -> np.ndarray:
    return np.array(Image.open(path))


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """A square of 10 with a hole, and a speck of 3 by 3."""
    pixels = np.zeros((60, 80), np.uint8)
    pixels[10:20, 10:20] = pixels[40:43, 60:63] = 255
    pixels[15, 15] = 0
    return saved(tmp_path / "mask.png", pixels)


def test_steps_run_in_order_and_the_source_stays(call: Any, mask: Path) -> None:
    before = loaded(mask)
    code, out, err = call(
        "mask-edit", mask, "--steps", "keep-largest,fill-holes,grow:2", "--out", "a/edited.png", "--json"
    )
    assert code == 0, err
    square = np.zeros((60, 80), bool)
    square[10:20, 10:20] = True
    assert np.array_equal(loaded("a/edited.png"), grow(square, 2) * np.uint8(255))
    assert json.loads(out)["pixels"] == {"1": int(grow(square, 2).sum())}
    assert np.array_equal(loaded(mask), before)
    code, _, err = call("mask-edit", mask, "--steps", "grow:2", "--out", "a/edited.png")
    assert code == 1
    assert "--force" in err


def test_pieces_are_split_dropped_and_moved(call: Any, mask: Path) -> None:
    assert call("mask-edit", mask, "--split", "--out", "split.png")[0] == 0
    labels = loaded("split.png")
    assert (labels[12, 12], labels[41, 61]) == (1, 2)
    assert call("mask-edit", "split.png", "--move", "2:1", "--out", "merged.npy")[0] == 0
    assert set(np.unique(np.load("merged.npy"))) == {0, 1}
    assert call("mask-edit", mask, "--drop", "41,61", "--out", "dropped.png")[0] == 0
    assert not loaded("dropped.png")[41, 61]
    code, _, err = call("mask-edit", mask, "--drop", "0,0", "--out", "x.png")
    assert code == 1
    assert "no piece" in err
    assert not Path("x.png").exists()


def test_a_picture_is_cut_and_frames_are_projected(call: Any, tmp_path: Path) -> None:
    ramp = np.tile(np.arange(200, dtype=np.uint8), (20, 1))
    picture = saved(tmp_path / "heat.png", ramp)
    code, _, err = call("mask-edit", picture, "--out", "cut.png")
    assert code == 1
    assert "--threshold" in err
    assert call("mask-edit", picture, "--threshold", "0.5", "--out", "cut.png")[0] == 0
    assert np.array_equal(loaded("cut.png") > 0, ramp >= 127.5)
    other = saved(tmp_path / "other.png", np.where(ramp < 10, 255, 0).astype(np.uint8))
    assert call("mask-edit", "cut.png", other, "--out", "both.png")[0] == 0
    assert np.array_equal(loaded("both.png") > 0, (ramp >= 127.5) | (ramp < 10))
    film = saved(tmp_path / "film.png", ramp)
    code, _, err = call(
        "mask-edit", "both.png", "--image", film, "--only", "darker:0.02", "--out", "dark.png"
    )
    assert code == 0, err
    assert np.flatnonzero(loaded("dark.png")[0]).max() < 10


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--steps", "blur:2"), "is no step"),
        (("--steps", "grow:1mm"), "size of a pixel is not known"),
        (("--only", "darker:0.4"), "--only needs the picture"),
        (("--spacing", "0,1"), "is no spacing"),
        (("--move", "a:b"), "moves nothing"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(call: Any, mask: Path, arguments: Any, sentence: str) -> None:
    code, _, err = call("mask-edit", mask, *arguments, "--out", "x.png")
    assert code == 1
    assert sentence in err
    assert not Path("x.png").exists()


def test_odd_files_are_refused(call: Any, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "run.npy", np.zeros((3, 4, 5), bool))
    for name in ("text.png", "object.npy", "run.npy", "absent.png"):
        code, _, err = call("mask-edit", tmp_path / name, "--steps", "keep-largest", "--out", "x.png")
        assert code == 1, name
        assert "Traceback" not in err
