"""PNG, JPEG and TIFF."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io import list_studies, open_study
from napari_clipmed.study import Kind

GREY8 = np.arange(200, dtype=np.uint8).reshape(10, 20)
GREY16 = GREY8.astype(np.uint16) * 300


def only_view(path):
    (view,) = open_study(path).views
    return view


def test_png_of_8_bits(tmp_path) -> None:
    Image.fromarray(GREY8).save(tmp_path / "x.png")
    study = open_study(tmp_path / "x.png")
    assert np.array_equal(study.views[0].pixels, GREY8[None])
    assert study.kind is Kind.CHEST
    assert study.guesses[0].what == "kind" and study.guesses[0].reason == "a single plain picture"


def test_png_of_16_bits(tmp_path) -> None:
    Image.fromarray(GREY16).save(tmp_path / "x.png")
    view = only_view(tmp_path / "x.png")
    assert view.pixels.dtype == np.uint16 and np.array_equal(view.pixels[0], GREY16)


def test_colour_becomes_luminance(tmp_path) -> None:
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[..., 0] = 100
    Image.fromarray(colour).save(tmp_path / "x.png")
    assert (only_view(tmp_path / "x.png").pixels == 30).all()  # 0.299 × 100


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "CMYK"])
def test_black_and_white_in_any_mode(tmp_path, mode) -> None:
    bright = GREY8 > 100
    picture = Image.fromarray(bright.astype(np.uint8) * 255).convert("RGB" if mode == "CMYK" else "L")
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    picture.convert(mode).save(path)
    assert np.array_equal(only_view(path).pixels[0] > 127, bright)


def test_jpeg(tmp_path) -> None:
    Image.fromarray(GREY8).save(tmp_path / "x.jpg", quality=95)
    assert np.abs(only_view(tmp_path / "x.jpg").pixels[0].astype(int) - GREY8).max() < 12


def test_the_suffix_does_not_matter(tmp_path) -> None:
    Image.fromarray(GREY8).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.dat")
    assert only_view(tmp_path / "x.dat").pixels.shape == (1, 10, 20)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_pages_are_frames(tmp_path, dtype) -> None:
    stack = np.stack([GREY8, GREY8 // 2, GREY8 // 3]).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", stack, photometric="minisblack")
    study = open_study(tmp_path / "x.tif")
    assert study.kind is Kind.ANGIOGRAM
    assert study.views[0].pixels.dtype == dtype and np.array_equal(study.views[0].pixels, stack)
    assert not study.views[0].timing.known


def test_tiff_in_colour_and_inverse(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "rgb.tif", np.stack([GREY8] * 3, -1), photometric="rgb")
    tifffile.imwrite(tmp_path / "inverse.tif", GREY8, photometric="miniswhite")
    assert np.array_equal(only_view(tmp_path / "rgb.tif").pixels[0], GREY8)
    assert np.array_equal(only_view(tmp_path / "inverse.tif").pixels[0], 255 - GREY8)


def test_numbered_pictures_are_a_sequence(tmp_path) -> None:
    for index in range(9, 13):
        Image.fromarray(GREY8 + index).save(tmp_path / f"run_{index}.png")
    study = open_study(tmp_path)
    assert study.kind is Kind.ANGIOGRAM
    assert study.views[0].pixels[:, 0, 0].tolist() == [9, 10, 11, 12]


def test_pictures_with_gaps_are_films(tmp_path) -> None:
    for index in (1, 2, 7):
        Image.fromarray(GREY8).save(tmp_path / f"film_{index}.png")
    entries = list_studies(tmp_path)
    assert len(entries) == 3 and all(entry.kind is Kind.CHEST for entry in entries)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_cut_picture_is_one_sentence(tmp_path, suffix) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UnreadableFileError, match="x."):
        open_study(path)


def test_a_picture_that_claims_too_much_is_refused(tmp_path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(GREY8).save(path)
    raw = bytearray(path.read_bytes())
    raw[16:24] = (60_000).to_bytes(4, "big") * 2
    path.write_bytes(raw)
    with pytest.raises(UnreadableFileError):
        open_study(path)
