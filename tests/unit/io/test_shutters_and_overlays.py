"""Shutters and overlays become masks on the grid of the frames; pixels are not touched."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from napari_clipmed.io import open_study
from napari_clipmed.io.shutters import overlays_of, shutter_of

SHAPE = (33, 41)


def header(**values) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


RECTANGLE = {
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": 5,
    "ShutterRightVerticalEdge": 30,
    "ShutterUpperHorizontalEdge": 3,
    "ShutterLowerHorizontalEdge": 20,
}


def add_overlay(dataset, mask, group=0x6000, origin=(1, 1), frames=None, first=None, **texts) -> None:
    """Overlay plane module as equipment writes it; bits little-endian, all planes in one run of bits."""
    planes = mask if mask.ndim == 3 else mask[None]
    dataset.add_new((group, 0x0010), "US", planes.shape[1])
    dataset.add_new((group, 0x0011), "US", planes.shape[2])
    dataset.add_new((group, 0x0040), "CS", texts.get("kind", "G"))
    dataset.add_new((group, 0x0050), "SS", list(origin))
    dataset.add_new((group, 0x0100), "US", 1)
    dataset.add_new((group, 0x0102), "US", 0)
    if frames is not None:
        dataset.add_new((group, 0x0015), "IS", frames)
    if first is not None:
        dataset.add_new((group, 0x0051), "US", first)
    if "label" in texts:
        dataset.add_new((group, 0x1500), "LO", texts["label"])
    raw = np.packbits(planes.ravel(), bitorder="little").tobytes()
    dataset.add_new((group, 0x3000), "OW", raw + b"\0" * (len(raw) % 2))


def drawn(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).random(shape) < 0.2


# -- shutters ----------------------------------------------------------------------------------------------


def test_a_rectangular_shutter_counts_from_one_and_shows_its_edges() -> None:
    mask, level = shutter_of(header(**RECTANGLE), SHAPE)
    rows, columns = np.nonzero(~mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 19, 4, 29) and level == 0


def test_a_circular_shutter() -> None:
    dataset = header(ShutterShape="CIRCULAR", CenterOfCircularShutter=[17, 21], RadiusOfCircularShutter=10)
    mask, _ = shutter_of(dataset, SHAPE)
    assert not mask[16, 20] and not mask[16, 30] and mask[16, 31] and not mask[26, 20] and mask[27, 20]
    assert (~mask).sum() == pytest.approx(np.pi * 100, rel=0.03)


def test_a_circle_on_pixels_that_are_not_square() -> None:
    """The radius is counted along a row; rows twice as far apart make the circle half as high in pixels."""
    dataset = header(
        ShutterShape="CIRCULAR",
        CenterOfCircularShutter=[17, 21],
        RadiusOfCircularShutter=10,
        PixelAspectRatio=[2, 1],
    )
    mask, _ = shutter_of(dataset, SHAPE)
    assert not mask[16, 30] and not mask[21, 20] and mask[22, 20]


def test_a_polygonal_shutter_is_given_as_row_and_column() -> None:
    dataset = header(ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=[1, 1, 1, 41, 20, 1])
    mask, _ = shutter_of(dataset, SHAPE)
    assert not mask[1, 1] and not mask[1, 30] and mask[18, 30] and mask[30, 1]


def test_shapes_are_combined_so_that_the_least_stays() -> None:
    both = header(**RECTANGLE, CenterOfCircularShutter=[17, 21], RadiusOfCircularShutter=10)
    both.ShutterShape = ["RECTANGULAR", "CIRCULAR"]
    rectangle = shutter_of(header(**RECTANGLE), SHAPE)[0]
    both.ShutterPresentationValue = 65535
    mask, level = shutter_of(both, SHAPE)
    assert level == 1 and (mask & rectangle).sum() == rectangle.sum() and mask.sum() > rectangle.sum()


def test_a_bitmap_shutter_is_no_overlay() -> None:
    dataset = header(ShutterShape="BITMAP", ShutterOverlayGroup=0x6002)
    add_overlay(dataset, drawn(), group=0x6002)
    assert np.array_equal(shutter_of(dataset, SHAPE)[0], drawn())
    assert overlays_of(dataset, SHAPE, 1) == ((), ())


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"ShutterShape": "CIRCULAR"},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1]},
        {"ShutterShape": "HEART"},
        RECTANGLE | {"ShutterLeftVerticalEdge": 900},
        RECTANGLE | {"ShutterLeftVerticalEdge": -5, "ShutterRightVerticalEdge": 99}
        | {"ShutterUpperHorizontalEdge": 0, "ShutterLowerHorizontalEdge": 34},
    ],
)  # fmt: skip
def test_a_shutter_without_sense_hides_nothing(values) -> None:
    assert shutter_of(header(**values), SHAPE) == (None, 0.0)


def test_the_shutter_of_a_run_is_on_the_view_and_not_in_the_pixels(make_run, frames) -> None:
    path = make_run(lambda dataset: dataset.update(header(**RECTANGLE)))
    (view,) = open_study(path).views
    assert np.array_equal(view.shutter, shutter_of(header(**RECTANGLE), SHAPE)[0])
    assert np.array_equal(view.pixels, frames)


# -- overlays ----------------------------------------------------------------------------------------------


def test_an_overlay_lies_over_every_frame(make_run, frames) -> None:
    path = make_run(lambda dataset: add_overlay(dataset, drawn(), label="Planned stent", kind="R"))
    (view,) = open_study(path).views
    (overlay,) = view.overlays
    assert np.array_equal(overlay.over(1), drawn()) and np.array_equal(overlay.over(6), drawn())
    assert overlay.label == "Planned stent" and overlay.region and np.array_equal(view.pixels, frames)


def test_an_overlay_of_several_frames_starts_where_it_says(make_run) -> None:
    planes = drawn(shape=(2, *SHAPE))
    path = make_run(lambda dataset: add_overlay(dataset, planes, frames=2, first=3))
    (overlay,) = open_study(path).views[0].overlays
    assert overlay.over(2) is None and overlay.over(5) is None
    assert np.array_equal(overlay.over(3), planes[0]) and np.array_equal(overlay.over(4), planes[1])


@pytest.mark.parametrize("origin", [(3, 5), (-2, -4), (30, 38)])
def test_an_overlay_beyond_the_image_is_cut(origin) -> None:
    dataset = header()
    small = np.ones((8, 9), bool)
    add_overlay(dataset, small, origin=origin)
    ((overlay,), _) = overlays_of(dataset, SHAPE, 1)
    expected = np.zeros((60, 60), bool)
    top, left = origin[0] - 1 + 10, origin[1] - 1 + 10
    expected[top : top + 8, left : left + 9] = True
    assert np.array_equal(overlay.masks[0], expected[10:43, 10:51])


def test_an_overlay_that_lies_about_its_size_is_said(make_run) -> None:
    def change(dataset):
        add_overlay(dataset, drawn())
        dataset[0x6000, 0x0010].value = dataset[0x6000, 0x0011].value = 65535
        dataset.add_new((0x6000, 0x0015), "IS", 2**31 - 1)

    (view,) = open_study(make_run(change)).views
    assert view.overlays == () and any("overlay" in note and "damaged" in note for note in view.warnings)


def test_an_overlay_in_unused_bits_of_the_pixels(make_run, frames) -> None:
    marks = drawn(shape=frames.shape)

    def change(dataset):
        for element, value in ((0x0010, 33), (0x0011, 41), (0x0100, 16), (0x0102, 15)):
            dataset.add_new((0x6000, element), "US", value)
        dataset.PixelData = (frames | (marks.astype(np.uint16) << 15)).tobytes()

    (view,) = open_study(make_run(change)).views
    assert np.array_equal(view.pixels, frames) and np.array_equal(view.overlays[0].masks, marks)


def test_an_overlay_that_compression_lost_is_said(make_run) -> None:
    def change(dataset):
        for element, value in ((0x0010, 33), (0x0011, 41), (0x0100, 16), (0x0102, 15)):
            dataset.add_new((0x6000, element), "US", value)

    (view,) = open_study(make_run(change, compress="jpegls")).views
    assert any("lost by compression" in note for note in view.warnings)
