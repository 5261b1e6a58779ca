"""Every real file against values that other programs found.

`golden_files.json` was made with GDCM (pixels; DCMTK decodes the same values where it can) and DCMTK's
dcmdump (headers), MONOCHROME1 turned over by 2^bits − 1. It holds numbers and hashes only, no pictures.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from napari_clipmed.io import open_study

pytestmark = pytest.mark.shared_data

GOLDEN = json.loads(Path(__file__).with_name("golden_files.json").read_text())

LOSSY = {"rubo_0002": 3, "XA1_JPLY": 3, "XA1_J2KI": 1, "J2KI": 1, "JLSN": 0, "orthanc_CR_mono1": 3}
"""How far two decoders of a lossy codec may differ: rounding of the cosine or wavelet transform."""


def tolerance_of(name: str) -> int:
    return next((most for part, most in LOSSY.items() if part in name), 0)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_a_real_file_reads_as_other_programs_read_it(shared_data, name) -> None:
    golden = GOLDEN[name]
    (view,) = open_study(shared_data / name).views
    frames = np.asarray(view.stored)
    assert frames.shape == (golden["frames"], golden["rows"], golden["columns"])
    most = tolerance_of(name)
    for frame, row, column, expected in golden["points"]:
        assert abs(int(frames[frame, row, column]) - expected) <= most, (frame, row, column)
    assert frames.mean(dtype=np.float64) == pytest.approx(golden["mean"], abs=0.05 if most else 0.001)
    if "sha256" in golden:
        assert hashlib.sha256(frames.astype("<u2").tobytes()).hexdigest() == golden["sha256"]
    if "times_ms" in golden:
        assert [view.timing.times_ms[0], view.timing.times_ms[-1]] == pytest.approx(golden["times_ms"])
        assert view.timing.source == golden["time_source"] and view.timing.known
    assert view.angles == (tuple(golden["angles"]) if "angles" in golden else None)
    if "spacing_mm" in golden:
        assert [view.spacing.row_mm, view.spacing.column_mm] == pytest.approx(golden["spacing_mm"])
    else:
        assert not view.spacing.known
    if "window" in golden:
        assert [view.window.low, view.window.high] == pytest.approx(golden["window"])
    if "useless_window" in golden:  # the file's window lies far below all of its values
        assert any("shows nothing of the image" in note for note in view.warnings)
        assert frames.min() > golden["useless_window"][1]


def test_every_real_file_has_golden_values(shared_data) -> None:
    found = [*(shared_data / "xa").rglob("*.dcm"), *(shared_data / "dsa/sequences").glob("*.dcm")]
    found += [path for path in (shared_data / "cxr/dicom").iterdir() if path.is_file()]
    names = {str(path.relative_to(shared_data)) for path in found}
    assert names - set(GOLDEN) == {"cxr/dicom/pylibjpeg_966_DX_chest_j2k.dcm"}  # its stream ends too soon
