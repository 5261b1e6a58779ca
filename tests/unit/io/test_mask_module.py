"""What a header says about its subtraction, and runs of known truth written, read and subtracted."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from napari_clipmed.io import open_study
from napari_clipmed.io.dicom_write import write_xa
from napari_clipmed.io.mask_module import file_subtraction, log_table, mask_items, recommended_subtraction
from napari_clipmed.phantoms.dsa.dicom import OPEN_FIELD, raw_frames
from napari_clipmed.phantoms.dsa.sample import simulate_sample
from napari_clipmed.study import Intensity, MaskItem, MaskOperation

ENHANCED_XA = "1.2.840.10008.5.1.4.1.1.12.1.1"


def header(*items: Dataset, **values) -> Dataset:
    dataset = Dataset()
    for keyword, value in {"BitsStored": 12, "PixelIntensityRelationship": "DISP", **values}.items():
        setattr(dataset, keyword, value)
    if items:
        dataset.MaskSubtractionSequence = list(items)
    return dataset


def item(**values) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def table(function: str, values: np.ndarray, first: int = 0) -> Dataset:
    lut = item(LUTFunction=function, LUTDescriptor=[len(values), first, 16])
    lut["LUTDescriptor"].VR = "US"
    lut.LUTData = values.astype("<u2").tobytes()
    lut["LUTData"].VR = "OW"
    return lut


# -- the mask module ---------------------------------------------------------------------------------------


def test_every_attribute_of_an_item_is_read() -> None:
    one = item(
        MaskOperation="AVG_SUB",
        ApplicableFrameRange=[2, 3, 5, 9],
        MaskFrameNumbers=[1, 4],
        ContrastFrameAveraging=2,
        MaskSubPixelShift=[0.5, -1.25],
    )
    two = item(MaskOperation="REV_TID", ApplicableFrameRange=[10, 12], TIDOffset=-3)
    assert mask_items(header(one, two)) == [
        MaskItem(MaskOperation.AVG_SUB, (1, 4), ((2, 3), (5, 9)), 2, (0.5, -1.25)),
        MaskItem(MaskOperation.REV_TID, ranges=((10, 12),), tid_offset=-3),
    ]


def test_what_an_item_does_not_say() -> None:
    (tid,) = mask_items(header(item(MaskOperation="TID")))
    assert tid == MaskItem(MaskOperation.TID, tid_offset=1, averaging=1, shift=(0.0, 0.0), ranges=())


def test_unknown_operations_and_half_a_shift_are_left_out() -> None:
    odd = item(MaskOperation="AVG_SUB", MaskFrameNumbers=1, MaskSubPixelShift=[1.5], ApplicableFrameRange=[4])
    assert mask_items(header(item(MaskOperation="DIVIDE"), odd)) == [MaskItem(mask_frames=(1,))]


@pytest.mark.parametrize(
    ("mode", "operation", "subtracts"),
    [(None, "AVG_SUB", True), ("SUB", "AVG_SUB", True), ("NAT", "AVG_SUB", False), ("SUB", "NONE", False)],
)
def test_recommended_viewing_mode(mode, operation, subtracts) -> None:
    dataset = header(item(MaskOperation=operation, MaskFrameNumbers=1), RecommendedViewingMode=mode)
    assert (recommended_subtraction(dataset) is not None) is subtracts
    assert len(file_subtraction(dataset).items) == 1  # offered in any case


@pytest.mark.parametrize(
    ("relationship", "intensity"),
    [
        ("LIN", Intensity.LINEAR),
        ("LOG", Intensity.LOGARITHMIC),
        ("DISP", Intensity.DISPLAY),
        ("ODD", Intensity.DISPLAY),
    ],
)
def test_pixel_intensity_relationship(relationship, intensity) -> None:
    assert file_subtraction(header(PixelIntensityRelationship=relationship)).intensity is intensity


def test_hostile_items_cost_neither_time_nor_memory(make_run, frames) -> None:
    """65,535 mask frames, ranges that overlap a thousand times, averaging without end."""

    def change(dataset) -> None:
        dataset.MaskSubtractionSequence = [
            item(
                MaskOperation="AVG_SUB",
                MaskFrameNumbers=list(range(7, 20_000)),
                ApplicableFrameRange=[1, 65535] * 1_000,
                ContrastFrameAveraging=65535,
            )
        ] * 2 + [item(MaskOperation="TID", TIDOffset=-32768)]

    (view,) = open_study(make_run(change)).views
    assert not view.subtracted and np.array_equal(view.pixels, frames)
    assert any("none of its frames" in note for note in view.warnings)


# -- the file's own table ----------------------------------------------------------------------------------


def test_a_table_to_log_is_taken_as_it_is() -> None:
    values = np.arange(4096) // 2
    dataset = header(PixelIntensityRelationshipLUTSequence=[table("TO_LOG", values)])
    assert np.array_equal(log_table(dataset), values.astype(np.float32))


def test_a_table_to_linear_is_logged() -> None:
    values = np.arange(4096) * 16
    dataset = header(PixelIntensityRelationshipLUTSequence=[table("TO_LINEAR", values)])
    np.testing.assert_allclose(log_table(dataset), np.log1p(values), rtol=1e-6)


@pytest.mark.parametrize(("relationship", "function"), [("LOG", "TO_LINEAR"), ("LIN", "TO_LINEAR")])
def test_a_table_that_leads_away_is_not_used(relationship, function) -> None:
    tables = [table(function, np.arange(4096))]
    dataset = header(PixelIntensityRelationship=relationship, PixelIntensityRelationshipLUTSequence=tables)
    assert log_table(dataset) is None


def test_a_table_may_start_late_and_end_early() -> None:
    dataset = header(PixelIntensityRelationshipLUTSequence=[table("TO_LOG", np.array([5, 6, 7]), first=10)])
    found = log_table(dataset)
    assert found[[0, 10, 11, 12, 4095]].tolist() == [5, 5, 6, 7, 7]


def test_a_damaged_table_is_not_used() -> None:
    broken = table("TO_LOG", np.arange(10))
    broken.LUTDescriptor = [4096, 0, 16]
    assert log_table(header(PixelIntensityRelationshipLUTSequence=[broken])) is None


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_an_enhanced_run_is_subtracted_in_the_space_of_its_table(make_run, frames, photometric) -> None:
    """The table stands in a functional group and speaks of stored values, whatever their polarity."""
    values = np.round(3000 * np.log1p(np.arange(4096)) / np.log(4096))

    def change(dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ENHANCED_XA
        dataset.PhotometricInterpretation = photometric
        group = item(PixelIntensityRelationshipLUTSequence=[table("TO_LOG", values)])
        properties = item(FramePixelDataPropertiesSequence=[item(PixelIntensityRelationship="DISP")])
        dataset.SharedFunctionalGroupsSequence = [group]
        dataset.SharedFunctionalGroupsSequence[0].update(properties)
        del dataset["PixelIntensityRelationship"]

    (view,) = open_study(make_run(change, mask=MaskItem(mask_frames=(1,)), intensity=Intensity.DISPLAY)).views
    expected = values[frames] - values[frames[0]]
    assert view.subtracted and np.array_equal(view.pixels, expected.astype(np.float32))
    assert any("own table" in guess.reason for guess in view.guesses)


# -- runs of known truth -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated():
    return simulate_sample("AM", 128)


def test_a_phantom_comes_back_as_the_simulator_subtracts_it(simulated, tmp_path) -> None:
    """Written with a mask, read, subtracted: what the simulator says, to the rounding of its counts."""
    view = simulated.views["AP"]
    masks = tuple(range(1, simulated.mask_frames + 1))
    write_xa(
        tmp_path / "run.dcm",
        raw_frames(view),
        timing_ms=200.0,
        mask=MaskItem(mask_frames=masks),
        intensity=Intensity.LINEAR,
        bits_stored=12,
    )
    (read,) = open_study(tmp_path / "run.dcm").views
    expected = view.log[: simulated.mask_frames].mean(0) - view.log
    difference = np.asarray(read.pixels) - expected
    well_exposed = raw_frames(view).min(axis=0) > 200  # a count of 200 is rounded to a quarter of a percent
    assert np.abs(difference[:, well_exposed]).max() < 0.006
    assert np.abs(difference).mean() < 0.003


@pytest.mark.parametrize(("down", "right"), [(2, -3), (-1.5, 0.5)])
def test_a_phantom_whose_head_moved_is_brought_back_by_the_shift(simulated, tmp_path, down, right) -> None:
    """The patient moves before the contrast comes; the file says so as the attribute defines it.

    The skull of every frame but the masks lies `down` and `right` of where it was. Its Mask Sub-pixel Shift
    is (down, −right): rows down, columns to the LEFT. Then only the contrast is left, and no skull.
    """
    view, count = simulated.views["AP"], simulated.mask_frames
    whole = (view.body + view.log).astype(np.float64)
    still = whole[:count].mean(axis=0)
    moved = whole.copy()
    moved[count:] += displaced(still, down, right) - still
    stored = np.clip(np.rint(OPEN_FIELD * np.exp(-moved)), 0, 4095).astype(np.uint16)

    def left_over(shift: tuple[float, float]) -> float:
        mask = MaskItem(
            mask_frames=tuple(range(1, count + 1)), ranges=((count + 1, len(stored)),), shift=shift
        )
        write_xa(
            tmp_path / "run.dcm",
            stored,
            timing_ms=200.0,
            mask=mask,
            intensity=Intensity.LINEAR,
            bits_stored=12,
        )
        (read,) = open_study(tmp_path / "run.dcm").views
        expected = still - whole[count:]  # the simulator's own subtraction of a patient who lay still
        inner = (slice(None), slice(8, -8), slice(8, -8))
        return float(np.abs(np.asarray(read.pixels)[count:] - expected)[inner].mean())

    as_defined = left_over((down, -right))
    assert as_defined < 0.004  # the rounding of the counts
    for wrong in ((down, right), (-down, -right), (0.0, 0.0), (np.trunc(down) * 0.5, -right)):
        assert left_over(wrong) > 3 * as_defined


def displaced(image: np.ndarray, down: float, right: float) -> np.ndarray:
    """The picture displaced by splines of the first order, edges repeated; not by our own code."""
    from scipy.ndimage import shift

    return shift(image, (down, right), order=1, mode="nearest")
