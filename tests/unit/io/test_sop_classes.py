"""Every class of image that the reader knows: its kind, and whether the modality LUT is for display."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from napari_clipmed.io import open_study
from napari_clipmed.study import Kind

ROOT = "1.2.840.10008.5.1.4.1.1."
RUNS = {
    "XA": (ROOT + "12.1", "XA"),
    "Enhanced XA": (ROOT + "12.1.1", "XA"),
    "XRF": (ROOT + "12.2", "RF"),
    "Enhanced XRF": (ROOT + "12.2.1", "RF"),
    "multi-frame grey word SC": (ROOT + "7.3", "OT"),
    "SC": (ROOT + "7", "XA"),
}
FILMS = {
    "CR": (ROOT + "1", "CR"),
    "DX for presentation": (ROOT + "1.1", "DX"),
    "DX for processing": (ROOT + "1.1.1", "DX"),
}


def of_class(uid: str, modality: str, **values):
    def change(dataset: Dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid
        dataset.Modality = modality
        dataset.pop("ModalityLUTSequence", None)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize("name", sorted(RUNS))
def test_runs(make_run, frames, name) -> None:
    study = open_study(make_run(of_class(*RUNS[name])))
    (view,) = study.views
    assert study.kind is Kind.ANGIOGRAM and np.array_equal(view.pixels, frames)
    assert view.timing.known and view.timing.interval_ms == 200


@pytest.mark.parametrize("name", sorted(FILMS))
def test_films(make_film, frames, name) -> None:
    study = open_study(make_film(of_class(*FILMS[name])))
    assert study.kind is Kind.CHEST and np.array_equal(study.views[0].pixels[0], frames[0])


@pytest.mark.parametrize("name", ["XA", "Enhanced XA", "XRF", "Enhanced XRF"])
def test_the_modality_lut_of_a_run_is_not_for_display(make_run, frames, name) -> None:
    path = make_run(of_class(*RUNS[name], RescaleSlope=3, RescaleIntercept=5))
    assert np.array_equal(open_study(path).views[0].pixels, frames)


@pytest.mark.parametrize("name", sorted(FILMS))
def test_the_modality_lut_of_a_film_is_for_display(make_film, frames, name) -> None:
    path = make_film(of_class(*FILMS[name], RescaleSlope=3, RescaleIntercept=5))
    assert np.array_equal(open_study(path).views[0].pixels[0], frames[0] * 3.0 + 5)


@pytest.mark.parametrize("modality", ["XA", "RF"])
def test_an_enhanced_run_with_everything_in_functional_groups(make_run, frames, modality) -> None:
    """Shared: spacing, angles, detector distances. Each frame: time and window."""

    def item(**values) -> Dataset:
        dataset = Dataset()
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        return dataset

    def change(dataset: Dataset) -> None:
        of_class(RUNS["Enhanced XA" if modality == "XA" else "Enhanced XRF"][0], modality)(dataset)
        for keyword in ("FrameTime", "FrameIncrementPointer", "CineRate"):
            del dataset[keyword]
        for keyword in ("PositionerPrimaryAngle", "PositionerSecondaryAngle", "PixelIntensityRelationship"):
            del dataset[keyword]
        properties = item(ImagerPixelSpacing=[0.3, 0.3], PixelIntensityRelationship="LOG")
        shared = item(
            PositionerPositionSequence=[item(PositionerPrimaryAngle=-91, PositionerSecondaryAngle=2)],
            FramePixelDataPropertiesSequence=[properties],
            XRayGeometrySequence=[item(DistanceSourceToDetector=1200, DistanceSourceToIsocenter=800)],
        )
        dataset.SharedFunctionalGroupsSequence = [shared]
        dataset.PerFrameFunctionalGroupsSequence = [
            item(
                FrameContentSequence=[item(FrameReferenceDateTime=f"202401011200{index:02d}.25")],
                FrameVOILUTSequence=[item(WindowCenter=1000 + index, WindowWidth=101)],
            )
            for index in range(6)
        ]

    (view,) = open_study(make_run(change)).views
    assert view.projection == "LA" and view.angles == (-91, 2)
    assert view.spacing.row_mm == pytest.approx(0.2) and view.spacing.calibration.name == "GEOMETRY"
    assert view.timing.times_ms.tolist() == [0, 1000, 2000, 3000, 4000, 5000]
    assert len(view.frame_windows) == 6 and np.array_equal(view.pixels, frames)
