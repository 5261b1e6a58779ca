"""Pictures, films, tables and files without identity, as a user asks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from napari_clipmed.io.dicom_write import write_dx, write_xa
from napari_clipmed.study import PatientIdentity

WHO = PatientIdentity("Zebulon^Anna", "SECRET-77", "19610203", "F", "20240517")
RUN = np.random.default_rng(0).integers(0, 4000, (5, 40, 48)).astype(np.uint16)


def test_deidentify_writes_reports_and_never_names(call: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_xa(tmp_path / "in" / "Zebulon.dcm", RUN, timing_ms=250.0, patient=WHO)
    write_dx(tmp_path / "in" / "film.dcm", RUN[0], patient=WHO)
    (tmp_path / "in" / "letter.txt").write_text("Dear Zebulon")
    code, out, err = call("deidentify", "in", "out", "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert (answer["written"], answer["left_out"], answer["failed"]) == (2, 1, 0)
    assert {file["output"] for file in answer["files"]} == {"P001/S01/0001.dcm", "P001/S02/0001.dcm", ""}
    assert json.loads((tmp_path / "out" / "deidentify-report.json").read_text())["written"] == 2
    assert "Zebulon" not in out + (tmp_path / "out" / "deidentify-report.json").read_text()
    code, _, err = call("deidentify", "in", "out")
    assert (code, "--force" in err) == (1, True)
    code, out, err = call("deidentify", "in", "out", "--force", "--keep-dates-relative")
    assert code == 0, err
    assert "look at every file" in out
    assert "does not say whether text" in out
