"""Every real and every broken file of the shared data: frames or one sentence, soon, in little memory."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io import list_studies, open_study
from napari_clipmed.study import Kind, Projection

pytestmark = pytest.mark.shared_data

SECONDS, BYTES = 20, 400e6


def open_or_sentence(path):
    """The study, or the error, which must be complete sentences; within the limits of time and memory."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        answer = open_study(path)
    except UnreadableFileError as error:
        assert error.message.strip().endswith(".") and error.hint.strip().endswith("."), error
        assert "Traceback" not in str(error)
        answer = error
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert time.monotonic() - began < SECONDS, path.name
    assert peak < BYTES, path.name
    return answer


def files_of(shared_data, folder):
    return sorted(path for path in (shared_data / folder).rglob("*") if path.is_file())


BAD = json.loads(Path(__file__).with_name("bad_files.json").read_text())
"""What becomes of each broken file: (T, H, W) of the frames that are saved, or words of the sentence."""


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_dicom_gives_frames_or_a_sentence(shared_data, name) -> None:
    answer, expected = open_or_sentence(shared_data / "bad_dicom" / name), BAD[name]
    if isinstance(expected, str):
        assert isinstance(answer, UnreadableFileError) and expected in answer.message
    else:
        assert not isinstance(answer, Exception), answer
        assert list(answer.views[0].pixels.shape) == expected


def test_every_bad_file_is_named(shared_data) -> None:
    assert {path.name for path in files_of(shared_data, "bad_dicom")} == set(BAD) and len(BAD) == 65


def test_every_angiogram_is_shown(shared_data) -> None:
    for path in [*files_of(shared_data, "xa"), *(shared_data / "dsa/sequences").glob("*.dcm")]:
        study = open_or_sentence(path)
        assert not isinstance(study, Exception), study
        assert study.views[0].window.low < study.views[0].window.high


BROKEN_FILMS = {"pylibjpeg_966_DX_chest_j2k.dcm"}  # a JPEG 2000 stream that ends too soon


def test_every_film_is_shown(shared_data) -> None:
    for path in files_of(shared_data, "cxr/dicom"):
        study = open_or_sentence(path)
        if path.name in BROKEN_FILMS:
            assert isinstance(study, UnreadableFileError)
            continue
        assert study.kind is Kind.CHEST, path.name
        (view,) = study.views
        values = view.pixels[0].astype(float)
        inside = ((values > view.window.low) & (values < view.window.high)).mean()
        assert inside > 0.3, f"{path.name}: the window shows {inside:.0%} of the film"


def test_lungs_are_dark_and_the_spine_is_bright(shared_data) -> None:
    """Five films of different polarity end up with the same one: spine brighter than the lungs beside it."""
    for name in (
        "gdcm_CR-MONO1-10-chest.dcm",
        "barre_CR-MONO1-10-chest_nopreamble",
        "pylibjpeg_966_fixed_DX_chest_j2k.dcm",
        "wg04_RG1_CR_chest_15bit_JLSN.dcm",
        "orthanc_CR_mono1_jpeg8.dcm",
    ):
        (view,) = open_study(shared_data / "cxr/dicom" / name).views
        height, width = view.pixels.shape[1:]
        band = view.pixels[0, height * 2 // 5 : height * 3 // 5].astype(float).mean(axis=0)
        middle = band[width * 45 // 100 : width * 55 // 100].mean()
        lungs = min(band[width // 5 : width * 2 // 5].mean(), band[width * 3 // 5 : width * 4 // 5].mean())
        assert middle > lungs, name


def test_the_coronary_run(shared_data) -> None:
    study = open_study(next((shared_data / "xa").glob("rubo_0002*.dcm")))
    (view,) = study.views
    assert study.kind is Kind.ANGIOGRAM and view.pixels.shape == (96, 512, 512)
    assert view.timing.source == "Frame Time" and view.timing.interval_ms == 33
    assert view.timing.times_ms[-1] == 95 * 33
    assert view.projection is Projection.OBLIQUE and view.angles == (-32, 2)
    assert not view.subtracted  # its mask item says NONE, and NAT is recommended


def test_one_run_in_many_encodings_has_the_same_pixels(shared_data) -> None:
    folder = shared_data / "xa/derived_multiframe"
    for bits in (8, 12):
        truth = open_study(folder / f"cor16_{bits}bit_explicitLE.dcm").image_hash
        names = sorted(path.name for path in folder.glob(f"cor16_{bits}bit_*.dcm"))
        assert len(names) >= 3
        for name in names:
            assert open_study(folder / name).image_hash == truth, name


def test_frame_time_vector_and_missing_times(shared_data) -> None:
    folder = shared_data / "xa/derived_multiframe"
    vector = open_study(folder / "cor16_frametimevector.dcm").views[0]
    assert vector.timing.source == "Frame Time Vector" and vector.timing.times_ms[-1] == 3000
    bare = open_study(folder / "cor16_no_optional_tags.dcm").views[0]
    assert not bare.timing.known and bare.projection is Projection.UNKNOWN


@pytest.mark.parametrize("disease", ["MMD", "AS"])
def test_the_real_biplane_runs(shared_data, disease) -> None:
    folder = shared_data / "dsa/sequences"
    study = open_study([folder / f"{disease}-LA.dcm", folder / f"{disease}-AP.dcm"])
    assert [view.projection for view in study.views] == [Projection.AP, Projection.LA]
    assert all(view.subtracted and view.native is None for view in study.views)
    assert any(guess.value == "subtracted by the scanner" for guess in study.views[0].guesses)


def test_the_folder_of_two_patients(shared_data) -> None:
    folder = shared_data / "dsa/sequences"
    pairs = [entry for entry in list_studies(folder) if entry.kind is Kind.ANGIOGRAM]
    assert [[path.name for path in entry.paths] for entry in pairs] == [
        ["AS-AP.dcm", "AS-LA.dcm"],
        ["MMD-AP.dcm", "MMD-LA.dcm"],
    ]
    study = open_study(folder)
    assert len(study.views) == 2 and any("MMD-AP.dcm + MMD-LA.dcm" in note for note in study.warnings)


def test_chest_pictures(shared_data) -> None:
    for path in files_of(shared_data, "cxr/png_ccby3"):
        study = open_study(path)
        assert study.kind is Kind.CHEST
        with Image.open(path) as image:
            assert study.views[0].pixels.shape[1:] == image.size[::-1]
            assert np.isfinite(study.views[0].window.low)
