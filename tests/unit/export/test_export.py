"""Pictures, stacks, films and maps: right values, right times, no identity, nothing lost."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))

from small_studies import bolus, make_study, make_view  # noqa: E402

from napari_clipmed.errors import Cancelled, ClipmedError  # noqa: E402
from napari_clipmed.export.film import Codec, schedule_of, write_film  # noqa: E402
from napari_clipmed.export.look import Look, chosen_views, shown, windowed  # noqa: E402
from napari_clipmed.export.pictures import write_pictures  # noqa: E402
from napari_clipmed.export.request import Request, parse_frames, parse_shift, requested  # noqa: E402
from napari_clipmed.export.stack import write_stack  # noqa: E402
from napari_clipmed.export.stamp import ink_of  # noqa: E402
from napari_clipmed.progress import Progress  # noqa: E402
from napari_clipmed.study import (  # noqa: E402
    Calibration,
    DisplayWindow,
    FrameTiming,
    PixelSpacing,
    Projection,
    View,
)

RUN = np.random.default_rng(0).integers(100, 4000, (6, 60, 81)).astype(np.uint16)


def view_of(pixels: np.ndarray = RUN, times: list[float] | None = None, **changes: object) -> View:
    known = {
        "spacing": PixelSpacing(0.2, 0.25, Calibration.DETECTOR),
        "windows": (DisplayWindow(0, 500, "Bone"),),
    }
    view = make_view(pixels, subtracted=False)
    if times is not None:
        known["timing"] = FrameTiming(np.array(times), "Frame Time Vector", True)
    return replace(view, **(known | changes))


def timing(*times: float, known: bool = True) -> FrameTiming:
    return FrameTiming(np.array(times, dtype=float), "Frame Time Vector", known)


# -- windows


def test_greys_of_a_window_by_hand() -> None:
    frame = np.array([[-5.0, 0.0, 50.0, 100.0, 200.0, np.nan]])
    window = DisplayWindow(0, 100)
    assert windowed(frame, window).tolist() == [[0, 0, 128, 255, 255, 0]]
    assert windowed(frame, window, inverted=True).tolist() == [[255, 255, 127, 0, 0, 255]]
    assert windowed(frame, window, bits=16).tolist() == [[0, 0, 32768, 65535, 65535, 0]]


def test_windows_by_number_and_name() -> None:
    view = view_of()
    assert Look("5,10").window_of(view) == DisplayWindow(5, 10)
    assert Look("bone").window_of(view).high == 500
    assert Look().window_of(view) is view.window
    for wrong in ("10,5", "a,b", "Lung"):
        with pytest.raises(ClipmedError):
            Look(wrong).window_of(view)


def test_a_shutter_covers_the_picture() -> None:
    shutter = np.zeros(RUN.shape[1:], bool)
    shutter[:, :9] = True
    picture = shown(view_of(shutter=shutter, shutter_level=0.5), RUN[0], DisplayWindow(0, 1))
    assert (picture[:, :9] == 128).all()
    assert (picture[:, 9:] == 255).all()


# -- pictures


def test_sixteen_bits_keep_stored_values_and_the_list_says_when(tmp_path: Path) -> None:
    view = view_of(times=[0, 100, 250, 400, 600, 850])
    paths = write_pictures(view, tmp_path / "x", bits=16)
    assert [path.name for path in paths] == [f"{number:04d}.png" for number in range(1, 7)]
    for index, path in enumerate(paths):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), RUN[index])
    listed = json.loads((tmp_path / "x" / "frames.json").read_text())
    assert [frame["time_ms"] for frame in listed["frames"]] == [0, 100, 250, 400, 600, 850]
    assert listed["frames"][0]["frame_number"] == 1
    assert listed["spacing_mm"] == [0.2, 0.25]
    with Image.open(paths[0]) as picture:
        assert picture.info["dpi"] == pytest.approx((25.4 / 0.25, 25.4 / 0.2), rel=1e-3)
        assert "not for diagnosis" in picture.info["Comment"]


def test_real_numbers_come_back_from_sixteen_bits(tmp_path: Path) -> None:
    values = (RUN.astype(np.float32) - 2000) / 700
    (first, *_) = write_pictures(view_of(values), tmp_path, bits=16)
    meaning = json.loads((tmp_path / "frames.json").read_text())["grey_values"]
    share = np.asarray(Image.open(first)) / meaning["white"]
    back = meaning["low"] + share * (meaning["high"] - meaning["low"])
    np.testing.assert_allclose(back, values[0], atol=1e-4)


def test_simulated_studies_say_so_in_every_picture(tmp_path: Path) -> None:
    flat = np.full((2, 64, 128), 90, np.uint8)
    for bits in (8, 16):
        folder = tmp_path / str(bits)
        (path, _) = write_pictures(view_of(flat), folder, Look("0,255"), bits=bits, synthetic=True)
        with Image.open(path) as picture:
            greys = np.asarray(picture)
            assert picture.info["Comment"].startswith("SIMULATED")
        assert (greys[ink_of(64, 128)] == 2**bits - 1).all()
        assert ink_of(64, 128).sum() > 100
        assert len(np.unique(greys[:32])) == 1, "the upper half is untouched"


def test_nothing_is_replaced_unasked_and_a_cancelled_export_leaves_no_half_file(tmp_path: Path) -> None:
    write_pictures(view_of(), tmp_path / "a")
    with pytest.raises(ClipmedError, match="exists already"):
        write_pictures(view_of(), tmp_path / "a")
    write_pictures(view_of(), tmp_path / "a", replace=True)
    progress = Progress(lambda step: progress.cancel() if step.done == 2 else None)
    with pytest.raises(Cancelled):
        write_stack(view_of(), tmp_path / "b" / "run.tif", progress=progress)
    assert list((tmp_path / "b").iterdir()) == []


# -- stacks


def test_a_stack_keeps_values_times_and_sizes(tmp_path: Path) -> None:
    view = view_of((RUN - 2000.0).astype(np.float32), times=[0, 100, 250, 400, 600, 850])
    path = write_stack(view, tmp_path / "run.tif", synthetic=True)
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        assert (series.axes, series.dtype) == ("TYX", np.dtype(np.float32))
        np.testing.assert_array_equal(series.asarray(), view.pixels)
        about = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    pixels = about["Pixels"]
    assert [plane["DeltaT"] for plane in pixels["Plane"]] == [0, 0.1, 0.25, 0.4, 0.6, 0.85]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"]) == (0.25, 0.2)
    assert about["Description"].startswith("SIMULATED")
    assert path.read_bytes().count(b"x.dcm") == 0


def test_a_windowed_stack_is_what_is_seen(tmp_path: Path) -> None:
    path = write_stack(view_of(), tmp_path / "run.tif", Look("0,4000", inverted=True))
    expected = windowed(RUN, DisplayWindow(0, 4000), inverted=True)
    np.testing.assert_array_equal(tifffile.imread(path), expected)


# -- films


def test_even_times_give_the_true_rate() -> None:
    schedule = schedule_of(timing(*(33.0 * n for n in range(96))))
    assert schedule.rate == pytest.approx(1000 / 33)
    assert (schedule.repeats == 1).all()
    assert schedule.seconds == pytest.approx(96 * 0.033)


def test_uneven_times_repeat_frames_on_a_common_grid() -> None:
    schedule = schedule_of(timing(0, 250, 500, 1500, 2500))
    assert schedule.rate == 4
    assert schedule.repeats.tolist() == [1, 1, 4, 4, 2]  # the last one for the usual 625 ms, on the grid


@pytest.mark.parametrize("seed", range(5))
def test_any_times_are_kept_to_half_a_tick(seed: int) -> None:
    steps = np.random.default_rng(seed).uniform(20, 900, 40)
    times = np.concatenate([[0], np.cumsum(steps)])
    schedule = schedule_of(timing(*times))
    onsets = np.concatenate([[0], np.cumsum(schedule.repeats)[:-1]]) / schedule.rate * 1000
    assert np.abs(onsets - times).max() <= 10.01


def test_unknown_times_are_not_invented() -> None:
    assert schedule_of(timing(0, 1, 2, known=False)).rate == 4.0
    assert schedule_of(timing(0)).repeats.tolist() == [1]
    assert schedule_of(timing(0, 0, 0)).repeats.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("codec", "times"),
    [(Codec.MPEG4, [0, 250, 500, 750, 1000, 1250]), (Codec.VP9, [0, 100, 250, 400, 600, 850])],
)
def test_another_program_reads_duration_and_pictures(
    tmp_path: Path, codec: Codec, times: list[float]
) -> None:
    ramp = np.repeat(np.linspace(0, 3999, 6), 60 * 81).reshape(6, 60, 81).astype(np.uint16)
    view = view_of(ramp, times=times, window=DisplayWindow(0, 4000))
    schedule = write_film(view, tmp_path / "run.mp4", name="AP", codec=codec, synthetic=True)
    film = cv2.VideoCapture(str(tmp_path / "run.mp4"))
    rate, count = film.get(cv2.CAP_PROP_FPS), int(film.get(cv2.CAP_PROP_FRAME_COUNT))
    assert rate == pytest.approx(schedule.rate, rel=1e-3)
    assert count == schedule.repeats.sum()
    assert count / rate == pytest.approx(schedule.seconds, rel=1e-3)
    shades = [float(film.read()[1][5:55, 5:76].mean()) for _ in range(count)]
    expected = np.repeat(np.linspace(0, 255, 6), schedule.repeats)
    np.testing.assert_allclose(shades, expected, atol=6)


# -- requests


def test_views_by_name_and_number() -> None:
    study = make_study(view_of(), view_of(projection=Projection.LA), view_of(projection=Projection.LA))
    assert [name for name, _ in chosen_views(study, "all")] == ["AP", "LA", "LA2"]
    assert chosen_views(study, "la")[0][1] is study.views[1]
    assert chosen_views(study, "3")[0][0] == "LA2"
    with pytest.raises(ClipmedError, match="no view"):
        chosen_views(study, "4")


def test_masks_and_shifts_as_people_write_them() -> None:
    assert parse_frames("1, 3-5") == (1, 3, 4, 5)
    assert parse_frames("") == ()
    assert parse_shift("0.5,-1.2") == (0.5, -1.2)
    for wrong in ("x", "3-y"):
        with pytest.raises(ClipmedError):
            parse_frames(wrong)
    with pytest.raises(ClipmedError):
        parse_shift("1")


def test_another_mask_is_subtracted_and_the_native_run_comes_back() -> None:
    run = bolus(8).astype(np.uint16) * 16
    study = make_study(view_of(run))
    ((_, view),) = requested(study, Request(mask_frames=(2,)))
    assert view.subtracted
    assert np.abs(view.pixels[1]).max() == 0, "the mask frame less itself"
    ((_, native),) = requested(make_study(view), Request(native=True))
    np.testing.assert_array_equal(np.asarray(native.pixels), run)
    with pytest.raises(ClipmedError, match="no frame 9"):
        requested(study, Request(mask_frames=(9,)))
    with pytest.raises(ClipmedError, match="native"):
        requested(study, Request(native=True, shift="1,1"))
    with pytest.raises(ClipmedError, match="scanner"):
        requested(make_study(replace(view_of(), subtracted=True)), Request(native=True))
