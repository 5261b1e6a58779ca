"""What a person types about workspaces, histories, bundles and agreement."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from postgres_server import database, postgres

from napari_clipmed.cli import main
from napari_clipmed.io import open_study
from napari_clipmed.records import Store

__all__ = ["database", "postgres"]


@pytest.fixture
def clipmed(monkeypatch, capsys):
    """Call the command line in this process: exit code, standard output and error."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["napari-clipmed", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        # rich breaks lines at the width of the terminal, in the midst of sentences
        return int(ended.value.code or 0), told.out, " ".join(told.err.split())

    return call


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def place(tmp_path: Path, film: Path) -> Path:
    """A workspace in which two readers have read one film."""
    with Store.open(tmp_path / "w") as store:
        case = store.case_for(open_study(film))
        store.add_label(case, "IA", "accepted", "m", "Dr A")
        store.add_label(case, "MMD", "corrected", "m", "Dr B", "puff of smoke")
        mask = np.zeros((40, 30), bool)
        mask[5:20, 5:20] = True
        for author in ("Dr A", "Dr B"):
            store.add_mask(case, 0, 0, mask, name="lung", author=author)
    return tmp_path / "w"


def test_a_workspace_from_making_to_restoring(clipmed, tmp_path: Path, place: Path) -> None:
    assert clipmed("workspace", "create", tmp_path / "new")[0] == 0
    code, _, said = clipmed("workspace", "create", tmp_path / "new")
    assert code == 1 and "is a workspace already" in said
    code, _, said = clipmed("workspace", "open", tmp_path / "mistyped")
    assert code == 1 and "no workspace" in said and not (tmp_path / "mistyped").exists()
    assert clipmed("workspace", "open", place)[0] == 0
    assert json.loads(clipmed("workspace", "recent", "--json")[1]) == [str(place), str(tmp_path / "new")]
    facts = json.loads(clipmed("workspace", "info", place, "--json")[1])
    assert (facts["cases"], facts["labelled"], facts["masks"], facts["revisions"]) == (1, 1, 1, 4)
    assert facts["readers"] == ["Dr A", "Dr B"]
    assert json.loads(clipmed("workspace", "check", place, "--json")[1])["problems"] == []
    assert clipmed("workspace", "backup", place, "--out", tmp_path / "b.zip")[0] == 0
    code, _, said = clipmed("workspace", "backup", place, "--out", tmp_path / "b.zip")
    assert code == 1 and "already a file" in said
    assert clipmed("workspace", "restore", tmp_path / "b.zip", tmp_path / "again")[0] == 0
    again = json.loads(clipmed("workspace", "info", tmp_path / "again", "--json")[1])
    assert again | {"folder": ""} == facts | {"folder": ""}
    (mask,) = (place / "masks").rglob("*.png")
    mask.unlink()
    code, told, _ = clipmed("workspace", "check", place)
    assert code == 1 and "something is wrong" in told


def test_history_names_what_holds_and_restores(clipmed, place: Path, film: Path) -> None:
    answer = json.loads(clipmed("history", film, "--workspace", place, "--json")[1])
    labels = [r for r in answer["revisions"] if r["kind"] == "label"]
    assert [(r["label"], r["author"], r["holds"]) for r in labels] == [
        ("IA", "Dr A", False),
        ("MMD", "Dr B", True),
    ]
    assert clipmed("restore", labels[0]["id"], "--workspace", place, "--author", "Dr C")[0] == 0
    code, told, _ = clipmed("history", answer["case"][:8], "--workspace", place)
    assert code == 0 and "(holds)" in told and "Dr C" in told
    code, _, said = clipmed("restore", 999, "--workspace", place)
    assert code == 1 and "no revision 999" in said
    code, _, said = clipmed("history", "zzz", "--workspace", place)
    assert code == 1 and "begin with 'zzz'" in said


def test_restoring_one_side_settles_a_conflict(clipmed, place: Path) -> None:
    with Store.open(place) as store:
        (case,) = store.cases()
        late = store.add_label(case.id, "AS", "corrected", author="Dr C", based_on=None)
    assert "disagree" in clipmed("history", case.id, "--workspace", place)[1]
    new = json.loads(clipmed("restore", late.id, "--workspace", place, "--json")[1])
    assert (new["label"], new["merges_id"]) == ("AS", late.id)
    assert json.loads(clipmed("history", case.id, "--workspace", place, "--json")[1])["conflicts"] == []


def test_a_bundle_goes_to_another_workspace(clipmed, place: Path, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "case.zip"
    assert clipmed("bundle", "export", film, "--workspace", place, "--out", out, "--pixels", film)[0] == 0
    clipmed("workspace", "create", tmp_path / "other")
    arrived = json.loads(clipmed("bundle", "import", out, "--workspace", tmp_path / "other", "--json")[1])
    assert (arrived["new"], arrived["known"], arrived["conflicts"]) == (4, 0, 0)
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(out.read_bytes()[:-200])
    code, _, said = clipmed("bundle", "import", damaged, "--workspace", tmp_path / "other")
    assert code == 1 and "damaged" in said


def test_agreement_as_table_page_and_json(clipmed, place: Path, tmp_path: Path) -> None:
    page = tmp_path / "agreement.html"
    answer = json.loads(clipmed("agreement", "--workspace", place, "--json", "--html", page)[1])
    assert answer["readers"] == ["Dr A", "Dr B"]
    assert answer["labels"]["pairs"][0]["confusion"] == {"IA": {"MMD": 1}}
    assert answer["masks"]["pairs"][0]["dice_mean"] == 1.0
    assert "Research use only" in page.read_text()
    code, told, _ = clipmed("agreement", "--workspace", place)
    assert code == 0 and "Fleiss" in told and "lung" in told
    code, _, said = clipmed("agreement", "--workspace", place, "--reader", "Dr A", "--reader", "Dr Z")
    assert code == 1 and "nothing by Dr Z" in said


def test_a_department_on_a_server(clipmed, tmp_path: Path, film: Path, database: str) -> None:
    shared = tmp_path / "shared"
    assert clipmed("workspace", "create", shared, "--database", database)[0] == 0
    with Store.open(shared) as store:
        store.add_label(store.case_for(open_study(film)), "IA", "accepted", author="Dr A")
    facts = json.loads(clipmed("workspace", "info", shared, "--json")[1])
    assert (facts["database"], facts["cases"]) == (database, 1)
    assert clipmed("workspace", "backup", shared, "--out", tmp_path / "b.zip")[0] == 0
    clipmed("workspace", "restore", tmp_path / "b.zip", tmp_path / "alone")
    facts = json.loads(clipmed("workspace", "info", tmp_path / "alone", "--json")[1])
    assert (facts["database"], facts["cases"]) == ("SQLite in the folder", 1)


def test_the_installed_program_ends_with_a_sentence_not_a_traceback(tmp_path: Path) -> None:
    program = "from napari_clipmed.cli import main; main()"
    command = [sys.executable, "-c", program, "workspace", "info", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no workspace" in done.stderr and "Traceback" not in done.stderr
