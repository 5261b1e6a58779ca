"""Zero-shot on the command line, from files to JSON and heat maps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from small_clips import write_folder  # noqa: E402
from small_studies import bolus  # noqa: E402

from napari_clipmed.io.dicom_write import write_dx, write_xa  # noqa: E402


def test_a_run_and_a_film_are_ranked_with_their_own_sets(call: Any, tmp_path: Path) -> None:
    spec = f"local-dir:{write_folder(tmp_path / 'clip')}"
    write_xa(tmp_path / "run.dcm", bolus(8), timing_ms=250.0, angles=(0.0, 0.0), synthetic=True)
    write_dx(tmp_path / "film.dcm", bolus(1)[0], synthetic=True)
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"nothing")
    files = (tmp_path / "run.dcm", tmp_path / "film.dcm")
    code, out, _ = call("zero-shot", *files, "--backbone", spec, "--json")
    answer = json.loads(out)
    assert (code, answer["calibrated"], answer["failed"]) == (0, False, 0)
    assert [study["label_set"] for study in answer["studies"]] == ["dsa", "chest"]
    assert all(study["caution"] == answer["caution"] and study["synthetic"] for study in answer["studies"])
    assert str(tmp_path) not in answer["studies"][0]["backbone"]
    code, out, _ = call(
        "zero-shot",
        files[0],
        bad,
        "--backbone",
        spec,
        "--label-set",
        "chest",
        "--heat",
        "a sac",
        "--out",
        tmp_path / "o",
    )
    assert code == 1, "the file that is no study"
    assert "Uncalibrated" in out
    assert "asks about a chest film" in out
    assert np.asarray(Image.open(tmp_path / "o" / "run-a-sac.png")).std() > 5
    code, _, err = call("zero-shot", files[0], "--backbone", spec, "--heat", "a sac", "--out", tmp_path / "o")
    assert (code, "--force" in err) == (1, True), "nothing is replaced unasked"


def test_sentences_are_compared_without_a_picture(call: Any, tmp_path: Path) -> None:
    spec = f"local-dir:{write_folder(tmp_path / 'clip')}"
    code, out, _ = call("zero-shot", "--sentences", "--backbone", spec, "--label-set", "dsa", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["similarity"]["MMD"]["MMD"] > 0.999
    code, out, _ = call("zero-shot", "--sentences", "--backbone", spec)
    assert (code, "MMD" in out) == (0, True)


def test_the_shipped_towers_answer_when_no_other_is_named(call: Any, tmp_path: Path) -> None:
    write_xa(tmp_path / "run.dcm", bolus(8), timing_ms=250.0, angles=(0.0, 0.0), synthetic=True)
    code, out, err = call("zero-shot", tmp_path / "run.dcm", "--json")
    assert code == 0, err
    (study,) = json.loads(out)["studies"]
    assert study["backbone"] == "clip-compact"
    assert study["nearly_the_same"] == [], "it tells the sentences of the classes apart"


def test_what_is_missing_is_said(call: Any, tmp_path: Path) -> None:
    for arguments, reason in (
        ((tmp_path, "--backbone", ""), "No backbone was named"),
        ((tmp_path, "--backbone", "clipmed-compact"), "random weights"),
        ((), "No study was named"),
        ((tmp_path, "--backbone", "clipmed-compact", "--label-set", "nothing"), "There is no set"),
    ):
        code, _, err = call("zero-shot", *arguments)
        assert (code, reason in err) == (1, True), reason
