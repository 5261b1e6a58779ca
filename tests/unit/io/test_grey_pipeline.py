"""Bright is bright, and the window is the one that the file means."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from napari_clipmed.io import open_study
from napari_clipmed.io.grey import robust_window


def the_view(path):
    (view,) = open_study(path).views
    return view


def limits(view):
    return view.window.low, view.window.high


def voi_lut(values, first=0, bits=8) -> Dataset:
    lut = Dataset()
    lut.LUTDescriptor = [len(values), first, bits]
    lut["LUTDescriptor"].VR = "US"
    lut.LUTData = np.asarray(values, "<u2").tobytes()
    lut["LUTData"].VR = "OW"
    return lut


@pytest.mark.parametrize("shape", [None, "INVERSE", "IDENTITY"])
def test_monochrome1_is_inverted_exactly_once(make_film, frames, shape) -> None:
    def change(dataset):
        if shape is None:
            del dataset.PresentationLUTShape
        else:
            dataset.PresentationLUTShape = shape

    view = the_view(make_film(change, photometric="MONOCHROME1", window=(1000, 501)))
    assert np.array_equal(view.pixels[0], 4095 - frames[0])
    assert limits(view) == (4095 - 1249.5, 4095 - 749.5)


def test_inverse_presentation_of_monochrome2(make_film, frames) -> None:
    view = the_view(make_film(lambda dataset: setattr(dataset, "PresentationLUTShape", "INVERSE")))
    assert np.array_equal(view.pixels[0], 4095 - frames[0])


def test_films_take_the_rescale_and_runs_do_not(make_film, make_run, frames) -> None:
    def change(dataset):
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -100

    assert np.array_equal(the_view(make_film(change)).pixels[0], frames[0] * 2.0 - 100)

    def change_run(dataset):
        del dataset.ModalityLUTSequence
        change(dataset)

    assert np.array_equal(the_view(make_run(change_run)).pixels, frames)


def test_films_take_the_modality_lut(make_film, frames) -> None:
    def change(dataset):
        del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.WindowCenter, dataset.WindowWidth
        lut = voi_lut(np.arange(4096)[::-1] * 2, bits=16)
        lut.ModalityLUTType = "US"
        dataset.ModalityLUTSequence = [lut]

    assert np.array_equal(the_view(make_film(change)).pixels[0], (4095 - frames[0]) * 2)


@pytest.mark.parametrize(("function", "high"), [("LINEAR", 1049.5), ("LINEAR_EXACT", 1050.5), ("", 1049.5)])
def test_window_functions(make_run, function, high) -> None:
    def change(dataset):
        dataset.VOILUTFunction = function

    assert limits(the_view(make_run(change, window=(1000, 101)))) == (949.5, high)


def test_several_windows_are_offered(make_run) -> None:
    def change(dataset):
        dataset.WindowCenter, dataset.WindowWidth = [1000, 2000], [501, 1001]
        dataset.WindowCenterWidthExplanation = ["SOFT", "HARD"]

    view = the_view(make_run(change))
    assert [window.name for window in view.windows] == ["SOFT", "HARD"]
    assert view.window == view.windows[0]


@pytest.mark.parametrize("width", [0, None, -5])
def test_a_window_without_width_falls_back_to_percentiles(make_run, frames, width) -> None:
    def change(dataset):
        dataset.WindowCenter, dataset.WindowWidth = 1000, width

    view = the_view(make_run(change))
    assert limits(view) == pytest.approx(tuple(np.percentile(frames, (0.5, 99.5))))
    assert any("without a width" in note for note in view.warnings)
    assert any(guess.what == "window" for guess in view.guesses)


def test_a_window_that_shows_nothing_falls_back(make_run, frames) -> None:
    view = the_view(make_run(window=(40000, 100)))
    assert limits(view) == pytest.approx(tuple(np.percentile(frames, (0.5, 99.5))))
    assert any("shows nothing" in note for note in view.warnings)


def test_a_voi_lut_alone_is_honoured(make_run, frames) -> None:
    table = np.round(255 * np.sqrt(np.linspace(0, 1, 4096))).astype(int)
    view = the_view(make_run(lambda dataset: setattr(dataset, "VOILUTSequence", [voi_lut(table)])))
    assert np.array_equal(view.pixels, table[frames])
    assert limits(view) == (0, 255)


def test_a_window_beside_a_voi_lut_wins(make_run, frames) -> None:
    def change(dataset):
        dataset.VOILUTSequence = [voi_lut(np.zeros(4096))]

    view = the_view(make_run(change, window=(2000, 2001)))
    assert np.array_equal(view.pixels, frames)


def test_padding_is_black_and_outside_the_percentiles(make_film, frames) -> None:
    image = frames[0].copy()
    image[:10] = 4095

    def change(dataset):
        dataset.add_new("PixelPaddingValue", "US", 4095)
        del dataset.WindowCenter, dataset.WindowWidth

    view = the_view(make_film(change, pixels=image))
    assert limits(view) == pytest.approx(tuple(np.percentile(image[10:], (0.5, 99.5))))
    assert (view.pixels[0, :10] <= view.window.low).all()


def test_robust_window_of_a_flat_picture_has_a_width() -> None:
    window = robust_window(np.full((2, 4, 4), 7, np.uint8))
    assert (window.low, window.high) == (7, 8)


def test_robust_window_ignores_what_is_no_number() -> None:
    frames = np.ones((1, 10, 10), np.float32)
    frames[0, 0] = np.nan
    frames[0, 1] = 3
    assert robust_window(frames).high == 3


def test_the_sigmoid_function_is_applied(make_run, frames) -> None:
    """PS3.3 C.11.2.1.3.1: half of full at the centre, and a slope of 1 / width there."""

    def change(dataset):
        dataset.VOILUTFunction = "SIGMOID"

    view = the_view(make_run(change, window=(2000, 1000)))
    expected = 65535 / (1 + np.exp(-4 * (frames.astype(float) - 2000) / 1000))
    assert np.abs(view.pixels - expected).max() <= 0.5 and limits(view) == (0, 65535)


def test_the_sigmoid_function_of_an_inverse_film(make_film, frames) -> None:
    def change(dataset):
        dataset.VOILUTFunction = "SIGMOID"

    view = the_view(make_film(change, window=(2000, 1000), photometric="MONOCHROME1"))
    expected = 65535 - 65535 / (1 + np.exp(-4 * (frames[0].astype(float) - 2000) / 1000))
    assert np.abs(view.pixels[0] - expected).max() <= 0.5


def enhanced_windows(windows):
    """A change that makes a run enhanced, with a window a frame."""

    def change(dataset):
        groups = []
        for centre, width in windows:
            group, macro = Dataset(), Dataset()
            macro.WindowCenter, macro.WindowWidth = centre, width
            group.FrameVOILUTSequence = [macro]
            groups.append(group)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.12.1.1"
        dataset.PerFrameFunctionalGroupsSequence = groups

    return change


def test_windows_of_single_frames_are_kept(make_run) -> None:
    view = the_view(make_run(enhanced_windows([(1000 + 10 * index, 201) for index in range(6)])))
    assert [window.low for window in view.frame_windows] == [899.5 + 10 * index for index in range(6)]
    assert view.window == view.frame_windows[0]


def test_windows_of_single_frames_that_agree_are_one(make_run) -> None:
    view = the_view(make_run(enhanced_windows([(1000, 201)] * 6)))
    assert view.frame_windows == () and limits(view) == (899.5, 1099.5)


def test_padding_of_a_run_leaves_the_values_but_not_the_window(make_run, frames) -> None:
    """Values of a run may be subtracted, so they stay; the estimated window leaves padding out."""
    padded = frames.copy()
    padded[:, :10] = 0
    view = the_view(make_run(lambda dataset: dataset.add_new("PixelPaddingValue", "US", 0), pixels=padded))
    assert np.array_equal(view.pixels, padded)
    assert limits(view) == pytest.approx(tuple(np.percentile(padded[padded > 0], (0.5, 99.5))))


def test_a_padding_range(make_film, frames) -> None:
    image = frames[0].copy()
    image[:10] = np.arange(4085, 4095)[:, None]

    def change(dataset):
        dataset.add_new("PixelPaddingValue", "US", 4085)
        dataset.add_new("PixelPaddingRangeLimit", "US", 4095)
        del dataset.WindowCenter, dataset.WindowWidth

    view = the_view(make_film(change, pixels=image))
    assert (view.pixels[0, :10] <= view.window.low).all()


def test_a_damaged_voi_lut_falls_back(make_run, frames) -> None:
    def change(dataset):
        lut = voi_lut(np.arange(4096))
        lut.LUTDescriptor = [0, 0, 99]
        dataset.VOILUTSequence = [lut]

    view = the_view(make_run(change))
    assert np.array_equal(view.pixels, frames) and any("VOI LUT" in note for note in view.warnings)
