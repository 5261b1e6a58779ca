"""A study shows its first picture while its other frames are being decoded."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from napari_clipmed.errors import Cancelled, UnreadableFileError
from napari_clipmed.io import first_picture, open_study, run_decoder
from napari_clipmed.io.arriving import Arriving, ArrivingFrames, first_frames
from napari_clipmed.io.dicom_headers import read_dicom
from napari_clipmed.io.dicom_write import Uids
from napari_clipmed.io.run_decoder import RunDecoder, decode_runs, one_by_one
from napari_clipmed.progress import Progress
from napari_clipmed.study import Intensity, MaskItem, MaskOperation

COUNT = 30


@pytest.fixture
def long_run() -> np.ndarray:
    """30 frames whose every grey value tells the frame: 100 × frame + row."""
    frames = np.arange(COUNT)[:, None, None] * 100 + np.arange(40)[None, :, None] + np.zeros((1, 1, 36), int)
    return frames.astype(np.uint16)


@pytest.fixture
def open_early(make_run, long_run):
    """Open a run, and give the arriving study as it was shown with the finished one."""

    def opened(on_show=lambda arriving: None, change=None, **options):
        shown: list[Arriving] = []

        def show(arriving: Arriving) -> None:
            shown.append(arriving)
            on_show(arriving)

        path = make_run(change, **{"pixels": long_run, "compress": "jpeglossless", **options})
        return shown, open_study(path, Progress(), show)

    return opened


def test_the_first_picture_is_shown_before_the_rest_is_decoded(open_early, long_run) -> None:
    seen = {}

    def look(arriving: Arriving) -> None:
        view = arriving.study.views[0]
        seen["counts"] = arriving.counts
        seen["has"] = [arriving.has(0, frame) for frame in range(COUNT)]
        seen["first"] = np.array(view.pixels[0])
        seen["blank"] = np.array(view.pixels[1])

    shown, study = open_early(look)
    assert len(shown) == 1
    assert 1 <= seen["counts"][0] <= 10 and seen["counts"][1] == COUNT
    assert seen["has"][0] and not seen["has"][1]
    assert np.array_equal(seen["first"], long_run[0])
    assert not np.isin(seen["blank"], long_run[1]).all() and len(np.unique(seen["blank"])) == 2
    assert np.array_equal(study.views[0].pixels, long_run)
    assert shown[0].counts == (COUNT, COUNT) and all(shown[0].has(0, frame) for frame in range(COUNT))


def test_the_finished_study_is_the_one_that_opens_without_showing(open_early, make_run, long_run) -> None:
    options = {"mask": MaskItem(mask_frames=(1, 2)), "intensity": Intensity.LINEAR}
    shown, study = open_early(**options)
    plain = open_study(make_run(name="b.dcm", pixels=long_run, compress="jpeglossless", **options))
    early, late = shown[0].study.views[0], study.views[0]
    assert study.image_hash == plain.image_hash and late.pixel_hash == plain.views[0].pixel_hash
    assert early.source_hash != late.source_hash and isinstance(early.pixels, ArrivingFrames)
    assert not isinstance(late.pixels, ArrivingFrames) and isinstance(late.native, np.ndarray)
    assert (early.window, early.subtraction, early.windows) == (late.window, late.subtraction, late.windows)


def test_a_subtracted_frame_waits_for_its_mask_and_for_the_frames_averaged(open_early, long_run) -> None:
    mask = MaskItem(mask_frames=(14,), averaging=3)
    seen = {}

    def look(arriving: Arriving) -> None:
        run, view = arriving.runs[0], arriving.study.views[0]
        assert run.arrived[[0, 1, 2, 13]].all()
        seen["first"] = float(view.pixels[0][0, 0])
        only = int(np.flatnonzero(run.arrived[:-2] & ~run.arrived[1:-1])[0])
        seen["incomplete"] = arriving.has(0, only)

    _, study = open_early(look, mask=mask)
    assert seen == {"first": (0 + 100 + 200) / 3 - 1300, "incomplete": False}
    assert study.views[0].pixels[0][0, 0] == seen["first"]


@pytest.mark.parametrize("operation", [MaskOperation.TID, MaskOperation.REV_TID])
def test_masks_of_time_differences_come_first_too(open_early, long_run, operation) -> None:
    item = MaskItem(operation, ranges=((16, 30),), tid_offset=1)
    shown, study = open_early(mask=item)
    early, late = shown[0].study.views[0], study.views[0]
    assert early.window == late.window and np.array_equal(early.pixels, late.pixels)


def test_the_frames_nearest_to_what_is_looked_at_come_next(open_early) -> None:
    order: list[int] = []

    def look(arriving: Arriving) -> None:
        def told(view: int, frame: int) -> None:
            order.append(frame)
            if len(order) == 4:
                arriving.look_at(0, 20)

        arriving.tell = told

    open_early(look, compress="rle")
    assert order[:4] == sorted(order[:4]) and max(order[:4]) < 10
    assert all(abs(frame - 20) <= 4 for frame in order[4:9])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_an_inverse_grey_scale_is_turned_frame_by_frame(open_early, photometric) -> None:
    pictures = []

    def change(dataset) -> None:
        dataset.PhotometricInterpretation = photometric

    shown, study = open_early(lambda arriving: pictures.append(arriving.study.views[0].pixels[0]), change)
    assert np.array_equal(pictures[0], study.views[0].pixels[0])
    assert np.array_equal(shown[0].study.views[0].pixels, study.views[0].pixels)


def test_both_planes_of_a_pair_are_shown_early_and_in_order(make_run, long_run) -> None:
    options = {"pixels": long_run, "compress": "jpeglossless"}
    paths = [
        make_run(name=f"{name}.dcm", angles=(angle, 0), uids=Uids.seeded(0, "x", name), **options)
        for name, angle in (("LA", 90), ("AP", 0))
    ]
    shown: list[Arriving] = []
    study = open_study(paths, Progress(), shown.append)
    assert [view.projection for view in shown[0].study.views] == [view.projection for view in study.views]
    assert [run.file.path.name for run in shown[0].runs] == ["AP.dcm", "LA.dcm"]
    assert shown[0].counts == (2 * COUNT, 2 * COUNT)


def test_short_runs_are_shown_once(open_early, long_run) -> None:
    assert open_early(compress=None)[0] == []
    assert open_early(pixels=long_run[:3])[0] == []


@pytest.fixture
def read_by_frame(monkeypatch) -> None:
    """Small uncompressed runs are read as large ones are."""
    monkeypatch.setattr(run_decoder, "READ_BY_FRAME", 0)


@pytest.mark.usefixtures("read_by_frame")
def test_a_long_uncompressed_run_is_shown_before_the_rest_is_read(open_early, long_run) -> None:
    seen = {}

    def look(arriving: Arriving) -> None:
        seen["counts"] = arriving.counts
        seen["first"] = np.array(arriving.study.views[0].pixels[0])
        seen["blank"] = np.array(arriving.study.views[0].pixels[1])
        arriving.look_at(0, 20)
        seen["next"] = next(arriving.nearest_first())

    shown, study = open_early(look, compress=None)
    assert len(shown) == 1 and seen["counts"][0] <= 10 and seen["counts"][1] == COUNT
    assert np.array_equal(seen["first"], long_run[0])
    assert len(np.unique(seen["blank"])) == 2
    assert abs(seen["next"][1] - 20) <= 1
    assert np.array_equal(study.views[0].pixels, long_run)
    assert shown[0].study.views[0].window.resembles(study.views[0].window)
    assert not study.views[0].warnings


@pytest.mark.usefixtures("read_by_frame")
def test_cancelling_while_an_uncompressed_run_is_read(make_run, long_run) -> None:
    progress, shown = Progress(), []

    def show(arriving: Arriving) -> None:
        shown.append(arriving)
        progress.cancel()

    with pytest.raises(Cancelled):
        open_study(make_run(pixels=long_run), progress, show)
    assert shown[0].counts[0] <= 12


@pytest.mark.usefixtures("read_by_frame")
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_frames_read_one_by_one_are_those_read_at_once(
    make_run, long_run, monkeypatch, photometric, syntax
) -> None:
    def change(dataset: pydicom.Dataset) -> None:
        dataset.PhotometricInterpretation = photometric
        dataset.HighBit, dataset.BitsStored = 14, 12
        values = long_run << 3
        dataset.PixelData = values.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.NumberOfFrames = COUNT + 3

    path = make_run(pixels=long_run)
    dataset = pydicom.dcmread(path)
    change(dataset)
    pydicom.dcmwrite(
        path, dataset, implicit_vr=False, little_endian=syntax == ExplicitVRLittleEndian, force_encoding=True
    )
    early = open_study(path)
    monkeypatch.setattr(run_decoder, "READ_BY_FRAME", 2**40)
    at_once = open_study(path)
    assert early.image_hash == at_once.image_hash
    assert early.views[0].warnings == at_once.views[0].warnings
    assert f"holds {COUNT}" in " ".join(early.views[0].warnings)


@pytest.mark.usefixtures("read_by_frame")
def test_a_file_that_is_cut_while_it_is_read_loses_its_last_frames(make_run, long_run) -> None:
    path = make_run(pixels=long_run)

    def cut(arriving: Arriving) -> None:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 5 * long_run[0].nbytes)

    study = open_study(path, Progress(), cut)
    assert study.views[0].n_frames == COUNT
    assert np.array_equal(study.views[0].pixels[20], long_run[20])
    assert any("could not be decoded" in warning for warning in study.views[0].warnings)


def test_cancelling_while_frames_arrive_ends_at_the_next_frame(make_run, long_run) -> None:
    progress, shown = Progress(), []

    def show(arriving: Arriving) -> None:
        shown.append(arriving)
        progress.cancel()

    with pytest.raises(Cancelled):
        open_study(make_run(pixels=long_run, compress="jpeglossless"), progress, show)
    assert shown[0].counts[0] <= 12


def test_a_frame_that_cannot_be_decoded_stays_blank_until_a_neighbour_stands_in(make_run, long_run) -> None:
    path = make_run(pixels=long_run, compress="jpeglossless")
    dataset = pydicom.dcmread(path)
    streams = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=COUNT))
    streams[1] = streams[1][:60]
    dataset.PixelData = pydicom.encaps.encapsulate(streams)
    dataset.save_as(path)
    shown: list[Arriving] = []
    (view,) = open_study(path, Progress(), shown.append).views
    assert not shown[0].has(0, 1) and np.array_equal(view.pixels[1], long_run[0])
    assert any("frame 2" in note for note in view.warnings)


def test_an_absurd_claim_is_refused_before_anything_is_shown(make_run, long_run) -> None:
    def change(dataset) -> None:
        dataset.Rows = dataset.Columns = 60_000

    shown: list[Arriving] = []
    with pytest.raises(UnreadableFileError):
        open_study(make_run(change, pixels=long_run, compress="jpeglossless"), Progress(), shown.append)
    assert not shown


def test_every_frame_is_told_once_and_streams_are_let_go(make_run, long_run) -> None:
    run = RunDecoder(read_dicom(make_run(pixels=long_run, compress="jpeglossless")))
    told, steps = [], []
    progress = Progress(lambda step: steps.append((step.done, step.total)))
    decode_runs([run], one_by_one([run]), progress, "Reading frame", lambda _, frame: told.append(frame))
    assert sorted(told) == list(range(COUNT)) and not any(run.streams)
    assert steps[-1] == (COUNT, COUNT) and all(0 <= done <= COUNT for done, _ in steps)
    assert np.array_equal(run.finished().frames, long_run)


def test_first_frames_hold_first_masks_and_samples(make_run, long_run) -> None:
    mask = MaskItem(mask_frames=(6, 7))
    run = RunDecoder(read_dicom(make_run(pixels=long_run, compress="jpeglossless", mask=mask)))
    first = first_frames(run)
    assert first[0] == 0 and {5, 6, COUNT - 1} <= set(first) and len(first) == len(set(first)) <= 10


@pytest.mark.parametrize("compress", ["jpeglossless", None])
def test_the_first_picture_alone(make_run, long_run, compress) -> None:
    assert np.array_equal(first_picture(make_run(pixels=long_run, compress=compress)), long_run[0])
