"""A reader's day, from an empty worklist to results in the archive, with the program killed in between.

Once as typed commands, once in the window. What is exported stays in ``out/review_day`` to be looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from orthanc_server import USER, Orthanc, _orthanc, orthanc  # noqa: E402
from review_day import (  # noqa: E402
    AUTHOR,
    FILM,
    MARKED,
    PROGRAM,
    RUNS,
    SENTENCE,
    Exams,
    make_exams,
    masks_in,
    objects_in,
    run_program,
    said_in,
    save_mask,
    saved_masks,
)

from napari_clipmed.records import Store  # noqa: E402
from napari_clipmed.records.backup import check_workspace  # noqa: E402

__all__ = ["_orthanc", "orthanc"]

WINDOW = Path(__file__).with_name("review_day_window.py")

LEFT = Path(__file__).parents[2] / "out" / "review_day"
ASKED = ("--task", "diagnosis", "--replay", "none")


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Exams:
    return make_exams(tmp_path_factory.mktemp("day"))


@pytest.fixture
def left(request: pytest.FixtureRequest) -> Path:
    """An empty folder for what the day leaves."""
    folder = LEFT / request.node.name.removeprefix("test_a_day_of_")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def typed(call: Any) -> Any:
    """A command that must succeed; gives its JSON document, or its text."""

    def run(*words: object) -> Any:
        code, told, said = call(*words)
        assert code == 0, said
        return json.loads(told) if "--json" in words else told

    return run


def label_verdicts(workspace: Path) -> list[str]:
    """What the saved labels are of the model's, from the labels themselves."""
    with Store.open(workspace, read_only=True) as store:
        labels = [revision for revision in store.revisions() if revision.kind == "label"]
    assert all((r.verdict == "accepted") == (r.label == r.model_label) for r in labels)
    return sorted(str(r.verdict) for r in labels)


def test_a_day_of_commands(
    call: Any, typed: Any, exams: Exams, left: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    workspace = tmp_path / "workspace"
    place = ("--workspace", workspace)
    by = ("--author", AUTHOR)

    # Open the worklist, let the model look, read all ten.
    added = typed("worklist", "add", exams.folder, *place, *by, "--json")
    assert (added["new"], added["problems"]) == (10, [])
    assert typed("worklist", "classify", *place, "--json") == {"answered": 9, "problems": []}
    listed = typed("worklist", "list", *place, "--json")["cases"]
    answers = {Path(line["paths"][0]).parent.name: line["predicted"] for line in listed}
    wrong = [name for name in RUNS if answers[name] != exams.truth[name]]
    assert 0 < len(wrong) < len(RUNS), "nothing to accept or nothing to correct: choose other runs"
    for name in RUNS:
        said = (
            "--label",
            exams.truth[name],
            *(("--comment", "seen in both planes") if name in wrong else ()),
        )
        told = typed("record", "label", exams[name], *place, *by, *said, "--json")
        assert (told["label"], told["model_label"]) == (exams.truth[name], answers[name])
        assert told["verdict"] == ("corrected" if name in wrong else "accepted")

    # Two masks: the model's outline of the film is smoothed, the nidus of a run is drawn by hand.
    film = exams[FILM] / "film.dcm"
    typed("segment", film, "--prompt", SENTENCE, "--out", "model.png")
    typed("mask-edit", "model.png", "--steps", "smooth:2,keep-largest", "--out", "mended.png")
    told = typed(
        *("record", "mask", film, *place, *by, "--mask", "mended.png", "--answer", "model.json", "--json")
    )
    assert (told["verdict"], told["prompt"], bool(told["model_version"])) == ("corrected", SENTENCE, True)
    frame, nidus = exams.nidus()
    drawn = save_mask(tmp_path / "nidus.png", nidus)
    told = typed(
        *("record", "mask", exams[MARKED], *place, *by, "--view", "AP", "--frame", frame + 1),
        *("--mask", drawn, "--name", "nidus", "--json"),
    )
    assert (told["frame"], told["view_index"], told["verdict"]) == (frame, 0, "corrected")
    assert call("worklist", "next", *place)[0] == 0  # the film has a mask, and still no verdict
    assert typed("worklist", "list", *place, "--json")["reviewed"] >= 9

    # Killed in the middle of a round: everything that was said is there, and nothing half-made.
    before, masks = said_in(workspace), saved_masks(workspace)
    assert len(before) == 11
    assert len(masks) == 2
    kill_a_round(workspace)
    assert typed("workspace", "check", workspace, "--json")["problems"] == []
    assert said_in(workspace) == before
    assert typed("models", "list", *place, "--json")["problems"] == []

    # Fine-tune, compare, promote.
    events = [
        json.loads(line) for line in typed("finetune", *place, *ASKED, "--progress", "json").splitlines()
    ]
    plan, done = (next(e for e in events if e["event"] == kind) for kind in ("plan", "done"))
    assert (plan["training_patients"], plan["validation_patients"]) == (7, 2)
    compared = typed(
        "models",
        "compare",
        plan["base"],
        done["model_id"],
        *place,
        "--out",
        left / "comparison.html",
        "--json",
    )
    assert (compared["on"], compared["n"]) == ("validation", 2)
    promote(call, compared, done["model_id"], place)

    # The promoted model answers.
    again = typed("worklist", "classify", *place, "--json")
    assert again == {"answered": 9, "problems": []}
    newest = typed("classify", exams[RUNS[0]], *place, "--out", left / "answers", "--json")["studies"]
    assert [study["model"] for study in newest] == [done["model_id"]]

    # Out: SEG and SR.
    named = (*place, "--with-identity", "--json")
    segs = [Path(p) for p in typed("export", "seg", exams.folder, *named, "--out", left / "seg")["files"]]
    reports = [Path(p) for p in typed("export", "sr", exams.folder, *named, "--out", left / "sr")["files"]]
    assert len(segs) == 2
    assert len(reports) >= 2 * len(RUNS)
    assert_same_masks({place: m for path in segs for place, m in masks_in(path).items()}, masks)

    # Beside their studies in the archive, and back from there.
    archive: Orthanc = request.getfixturevalue("orthanc")
    archive.put(*exams.folder.rglob("*.dcm"))
    typed("pacs", "add", "main", "--url", f"{archive.base}/dicom-web", "--user", USER)
    sent = typed("pacs", "send", *segs, *reports, "--to", "main", "--json")
    assert [item["refused"] for item in sent] == [""] * (len(segs) + len(reports))
    made = objects_in(left / "seg") | objects_in(left / "sr")
    studies = {str(dataset.StudyInstanceUID) for dataset in made.values()}
    came = typed("pacs", "get", *studies, "--from", "main", "--out", left / "retrieved", "--json")
    assert all(study["complete"] for study in came)
    back = objects_in(left / "retrieved")
    assert back.keys() == made.keys() | objects_in(exams.folder).keys()
    for uid, dataset in made.items():
        assert back[uid] == dataset
    marked = [path for path in (left / "retrieved").rglob("*.dcm") if is_segmentation(path, back)]
    assert_same_masks({place: m for path in marked for place, m in masks_in(path).items()}, masks)


def test_a_day_of_clicks(
    exams: Exams, left: Path, tmp_path: Path, clipmed_home: Path, request: pytest.FixtureRequest
) -> None:
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        pytest.skip("no display; `make test` starts one")
    try:
        archive: Orthanc | None = request.getfixturevalue("orthanc")
    except pytest.skip.Exception as absent:
        archive, without = None, str(absent)
    else:
        archive.put(*exams.folder.rglob("*.dcm"))
        done = run_program("pacs", "add", "main", "--url", f"{archive.base}/dicom-web", "--user", USER)
        assert done.returncode == 0, done.stderr
    workspace = clipmed_home / "workspace"

    # Ten cases are read; then the program is killed in the middle of a mask that was not saved.
    with open_the_window("morning", exams, left, tmp_path) as window:
        assert window.stdout is not None
        said = window.stdout.readline()
        if said == "unsaved\n":
            window.kill()
        assert (said, window.wait(60)) == ("unsaved\n", -signal.SIGKILL), (
            tmp_path / "morning.log"
        ).read_text()
    verdicts = json.loads((left / "morning.json").read_text())["verdicts"]
    assert verdicts.keys() == set(RUNS)
    assert set(verdicts.values()) == {"accepted", "corrected"}, "choose other runs"
    assert sorted(verdicts.values()) == label_verdicts(workspace)
    check_workspace_of(workspace)
    before, masks = said_in(workspace), saved_masks(workspace)
    assert [kind for _, _, kind, _ in before].count("label") == len(RUNS)
    assert {verdict for _, _, kind, verdict in before if kind == "mask"} == {"corrected"}
    assert len(masks) == 2

    # It goes on where it stopped.
    with open_the_window("afternoon", exams, left, tmp_path) as window:
        assert window.wait(240) == 0, (tmp_path / "afternoon.log").read_text()
    seen = json.loads((left / "afternoon.json").read_text())
    frame, nidus = exams.nidus()
    assert "Not saved when this case was last left" in seen["offered"]
    assert f"frame {frame + 2}" in seen["offered"]
    assert said_in(workspace)[: len(before)] == before
    masks_now = saved_masks(workspace)
    assert masks_now.keys() > masks.keys()
    assert_same_masks({place: masks_now[place] for place in masks}, masks)
    (restored,) = (masks_now[place] for place in masks_now.keys() - masks.keys())
    np.testing.assert_array_equal(restored, nidus)
    check_workspace_of(workspace)
    with Store.open(workspace, read_only=True) as store:
        assert len(store.newest_answers(seen["model"])) == len(RUNS)
    decided = [
        json.loads(line) for line in (workspace / "models" / "promotions.jsonl").read_text().splitlines()
    ]
    assert [(row["model"], "reason" in row) for row in decided] == [(seen["model"], seen["worse"])]

    segs = [path for name in (MARKED, FILM) for path in (left / name).rglob("*-seg.dcm")]
    assert_same_masks({place: m for path in segs for place, m in masks_in(path).items()}, masks_now)
    if archive is None:
        pytest.skip(f"all but the archive was done: {without}")
    made = objects_in(left / MARKED) | objects_in(left / FILM)
    assert {dataset.Modality for dataset in made.values()} == {"SEG", "SR"}
    assert len(seen["sent"]) == 2
    back = objects_in(left / "retrieved")
    assert back.keys() == made.keys() | objects_in(exams.folder).keys()
    for uid, dataset in made.items():
        assert back[uid] == dataset


def open_the_window(part: str, exams: Exams, left: Path, tmp_path: Path) -> subprocess.Popen[str]:
    """The window in a process of its own; what it complains about goes to ``<part>.log``."""
    own = {"NAPARI_CONFIG": str(tmp_path / "napari.yaml"), "OMP_NUM_THREADS": "1"}
    with (tmp_path / f"{part}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, str(WINDOW), part, str(exams.folder), str(left)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | own,
        )


def check_workspace_of(workspace: Path) -> None:
    with Store.open(workspace, read_only=True) as store:
        assert not check_workspace(store).problems


def kill_a_round(workspace: Path) -> None:
    """Start a round of fine-tuning and kill it after its first epoch."""
    command = [sys.executable, "-c", PROGRAM, "finetune", "--workspace", str(workspace), *ASKED]
    with subprocess.Popen(
        [*command, "--progress", "json", "--epochs", "5000", "--patience", "5000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "epoch":
                break
        process.kill()
    assert process.returncode < 0
    assert not [path for path in (workspace / "models").iterdir() if path.is_dir()]


def promote(call: Any, compared: dict[str, Any], model: str, place: tuple[object, ...]) -> None:
    """By a person; a model that got worse is refused until a reason is given."""
    figure = compared["figures"]["macro_f1"]
    code, told, said = call("models", "promote", model, *place)
    if figure["after"]["value"] < figure["before"]["value"]:
        assert (code, "give a reason" in said) == (1, True)
        code, told, said = call("models", "promote", model, *place, "--reason", "Agreed at the conference")
    assert code == 0, said
    assert "now answers diagnosis" in told


def assert_same_masks(found: dict[Any, Any], wanted: dict[Any, Any]) -> None:
    assert found.keys() == wanted.keys()
    for place, mask in wanted.items():
        np.testing.assert_array_equal(found[place], mask)


def is_segmentation(path: Path, objects: dict[str, Any]) -> bool:
    from pydicom import dcmread

    uid = dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID
    return objects[str(uid)].Modality == "SEG"
