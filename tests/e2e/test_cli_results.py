"""What a workspace knows, taken out as a user types it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from reviewed_studies import SECRETS, Reviewed, complaints, reviewed_film, reviewed_run  # noqa: E402
from small_models import add_diagnosis_model  # noqa: E402

from napari_clipmed.models.registry import Registry  # noqa: E402


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Reviewed]:
    found = reviewed_run(tmp_path / "case")
    found.store.close()
    yield found


WORKSPACE = ("--workspace", "case/workspace")


def test_objects_are_legal_and_anonymous_unless_asked(call: Any, run: Reviewed, tmp_path: Path) -> None:
    for kind in ("seg", "sr", "capture"):
        code, out, err = call("export", kind, "case/run", *WORKSPACE, "--out", f"{kind}-files")
        assert (code, "name no patient" in out) == (0, True), err
        files = sorted((tmp_path / f"{kind}-files").iterdir())
        assert len(files) == 2
        for path in files:
            assert complaints(path) == []
            assert not [secret for secret in SECRETS if secret.encode() in path.read_bytes()]
        code, _, err = call("export", kind, "case/run", *WORKSPACE, "--out", f"{kind}-files")
        assert (code, "exists already" in err) == (1, True)
        code, out, err = call(
            "export", kind, "case/run", *WORKSPACE, "--out", f"{kind}-files", "--force", "--with-identity"
        )
        assert (code, "The files name the patient" in out) == (0, True), err
        assert {dcmread(path).PatientID for path in (tmp_path / f"{kind}-files").iterdir()} == {"SECRET-77"}


def test_a_segmentation_lies_on_its_frames(call: Any, run: Reviewed, tmp_path: Path) -> None:
    code, out, err = call(
        "export", "seg", "case/run/a.dcm", "case/run/b.dcm", *WORKSPACE, "--out", "o", "--json"
    )
    assert code == 0, err
    answer = json.loads(out)
    read = hd.seg.segread(next(path for path in answer["files"] if "-AP-" in path))
    uid = run.study.views[0].source.sop_instance_uid
    found = read.get_pixels_by_source_frame(uid, [5], segment_numbers=[1])
    np.testing.assert_array_equal(found[0, ..., 0].astype(bool), run.masks[0, 4, "aneurysm"])


def test_files_for_other_programs(call: Any, run: Reviewed, tmp_path: Path) -> None:
    for kind, out in (("masks", "png"), ("coco", "coco.json"), ("table", "all.csv"), ("table", "all.jsonl")):
        code, _, err = call("export", kind, *WORKSPACE, "--out", out)
        assert code == 0, err
        assert (tmp_path / out).exists()
    code, out, err = call("export", "nifti", "case/run", *WORKSPACE, "--out", "nifti", "--json")
    assert code == 0, err
    assert len(json.loads(out)["files"]) == 3
    code, _, err = call("export", "coco", run.case[:8], *WORKSPACE, "--out", "one.json")
    assert code == 0, err
    assert len(json.loads((tmp_path / "one.json").read_text())["annotations"]) == len(run.masks)


def test_a_folder_of_studies_and_one_that_nobody_read(call: Any, tmp_path: Path) -> None:
    film = reviewed_film(tmp_path / "chest")
    film.store.close()
    other = reviewed_run(tmp_path / "other")
    other.store.close()
    (tmp_path / "all").mkdir()
    (tmp_path / "chest" / "film.dcm").rename(tmp_path / "all" / "film.dcm")
    (tmp_path / "other" / "run").rename(tmp_path / "all" / "run")
    code, out, err = call("export", "seg", "all", "--workspace", "chest/workspace", "--out", "seg")
    assert (code, "1 of the studies have nothing to export" in out) == (0, True), err
    assert len(list((tmp_path / "seg").iterdir())) == 1
    code, _, err = call("export", "sr", "all", "--workspace", "chest/workspace", "--out", "sr")
    assert (code, "no label and no answer" in err or "knows nothing" in err) == (1, True)
    code, _, err = call("export", "table", "--workspace", "nowhere", "--out", "x.csv")
    assert code == 1
    assert "Traceback" not in err


def test_saliency_is_asked_of_the_model_and_marked(
    call: Any, run: Reviewed, tmp_path: Path, clipmed_home: Path
) -> None:
    add_diagnosis_model(Registry([clipmed_home / "models"]))
    ask = ("export", "capture", "case/run", *WORKSPACE, "--out", "sc", "--saliency", "--model", "tiny-dsa")
    code, _, err = call(*ask, "--label", "nonsense")
    assert (code, "There is no class 'nonsense'" in err) == (1, True)
    code, out, err = call(*ask, "--json")
    assert code == 0, err
    for path in json.loads(out)["files"]:
        assert complaints(Path(path)) == []
        capture = dcmread(path)
        assert capture.DerivationDescription.startswith("AI saliency: layercam of class")
        assert "tiny-dsa" in capture.DerivationDescription
        assert capture.NumberOfFrames == len(capture.SourceImageSequence[0].ReferencedFrameNumber)
