"""What a person types about the worklist and similar cases, with a tiny model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from small_models import add_diagnosis_model  # noqa: E402
from worklist_folder import make_folder  # noqa: E402

from napari_clipmed.io import open_study  # noqa: E402
from napari_clipmed.models.registry import Registry  # noqa: E402
from napari_clipmed.records import Store  # noqa: E402


@pytest.fixture
def exams(tmp_path: Path, clipmed_home: Path) -> Path:
    add_diagnosis_model(Registry([clipmed_home / "models"]))
    return make_folder(tmp_path / "exams", pairs=3)


def test_a_list_from_adding_to_similar_cases(call, tmp_path: Path, exams: Path) -> None:
    place = ("--workspace", tmp_path / "w")
    assert call("worklist", "list", *place)[0] == 1  # a mistyped path makes no workspace
    assert not (tmp_path / "w").exists()

    code, out, _ = call("worklist", "add", exams, *place, "--json")
    added = json.loads(out)
    assert code == 0 and (added["new"], added["total"]) == (5, 5)
    assert [Path(entry["paths"][0]).name for entry in added["problems"]] == ["cut.dcm"]
    assert "0 new, 5 on the list" in call("worklist", "add", exams, *place)[1]

    code, out, _ = call("similar", exams / "exam 1", *place, "--model", "tiny-dsa")
    assert code == 1  # nothing was classified yet
    code, out, _ = call("worklist", "classify", *place, "--model", "tiny-dsa", "--json")
    assert code == 0 and json.loads(out) == {"answered": 3, "problems": []}
    assert (
        json.loads(call("worklist", "classify", *place, "--model", "tiny-dsa", "--json")[1])["answered"] == 0
    )

    with Store.open(tmp_path / "w") as store:
        case = store.case_for(open_study(exams / "exam 2"))
        store.add_label(case, "MMD", "corrected", author="AB")
    code, out, _ = call("worklist", "list", *place, "--order", "uncertainty", "--json")
    listed = json.loads(out)
    scores = [line["score"] for line in listed["cases"]]
    assert (listed["reviewed"], listed["total"]) == (1, 4)
    assert scores[:3] == sorted(scores[:3], reverse=True) and scores[3:] == [None, None]
    assert [line["status"] for line in listed["cases"]].count("problem") == 1
    reviewed = json.loads(call("worklist", "list", *place, "--status", "reviewed", "--json")[1])["cases"]
    assert [(line["case"], line["label"], line["reader"]) for line in reviewed] == [(case, "MMD", "AB")]
    assert "3 of" not in call("worklist", "list", *place, "--order", "diversity")[1]

    coming = json.loads(call("worklist", "next", *place, "--order", "uncertainty", "--json")[1])
    assert coming["case"] == next(line["case"] for line in listed["cases"] if line["status"] == "to review")

    code, out, _ = call("similar", exams / "exam 1", *place, "-k", 2, "--json", "--model", "tiny-dsa")
    similar = json.loads(out)["similar"]
    assert code == 0 and len(similar) == 2
    assert {row["case"] for row in similar} == {line["case"] for line in listed["cases"][:3]} - {
        json.loads(call("worklist", "list", *place, "--json")[1])["cases"][0]["case"]
    }
    assert similar[0]["similarity"] >= similar[1]["similarity"]
    assert next(row["label"] for row in similar if row["case"] == case) == "MMD"
    assert call("similar", *place)[0] == 1  # neither a study nor a sentence
    code, out, _ = call("similar", "--text", "moyamoya disease", *place, "--model", "tiny-dsa")
    assert code == 0 and "not a probability" in out

    assert json.loads(call("worklist", "remove", exams / "exam 1", *place, "--json")[1]) == {
        "removed": 1, "total": 4,
    }  # fmt: skip
    assert call("worklist", "list", *place, "--status", "nonsense")[0] == 1
