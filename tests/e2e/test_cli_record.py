"""What a reader says, typed: labels and masks with their verdicts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from small_models import add_segmentation_model  # noqa: E402
from worklist_folder import make_pair  # noqa: E402

from napari_clipmed.io import open_study  # noqa: E402
from napari_clipmed.models.registry import Registry  # noqa: E402
from napari_clipmed.records import Store  # noqa: E402
from napari_clipmed.training.finetune_plan import plan  # noqa: E402

PLACE = ("--workspace", "w")


@pytest.fixture
def run(tmp_path: Path, elsewhere: None) -> Path:
    """A biplane run in a workspace, where a model called it MMD."""
    folder = tmp_path / "run"
    make_pair(folder, 1)
    with Store.open(tmp_path / "w") as store:
        case = store.case_for(open_study(folder))
        store.add_answer(case, "clip-dsa-compact", {"both": {"MMD": 0.9, "IA": 0.1}}, model_version="ab")
    return folder


def mask_of(shape: tuple[int, int], path: Path) -> np.ndarray[Any, Any]:
    mask = np.zeros(shape, bool)
    mask[4:12, 6:20] = True
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return mask


def test_a_label_keeps_what_the_model_said_and_can_be_learned_from(call: Any, run: Path) -> None:
    code, out, err = call("record", "label", run, *PLACE, "--author", "AB", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["label"], told["verdict"], told["author"]) == ("MMD", "accepted", "AB")
    assert (told["model_label"], told["model_score"], told["model_version"]) == ("MMD", 0.9, "ab")
    code, out, err = call("record", "label", run, *PLACE, "--label", "IA", "--comment", "a sac", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["label"], told["verdict"], told["model_label"]) == ("IA", "corrected", "MMD")
    assert "corrected" in call("history", run, *PLACE)[1]
    assert "no label, unsure" in call("record", "label", run, *PLACE, "--verdict", "unsure")[1]
    call("record", "label", run, *PLACE, "--label", "IA")
    with Store.open("w", read_only=True) as store:
        (example,) = plan(store, "diagnosis").training
        assert (example.label, store.conflicts()) == ("IA", [])


def test_a_label_that_cannot_be_meant_is_refused(call: Any, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_pair(other, 2)
    Image.fromarray(np.zeros((40, 40), np.uint8)).save("film.png")
    for words, sentence in (
        ((run, "--label", "mmd"), "no class 'mmd'"),
        ((run, "--label", "IA", "--verdict", "accepted"), "does not accept that"),
        ((run, "--label", "MMD", "--verdict", "corrected"), "answered MMD too"),
        ((run, "--verdict", "corrected"), "no label to save"),
        ((other,), "worklist classify"),
        (("film.png", "--label", "IA"), "for angiograms"),
    ):
        code, out, err = call("record", "label", *words, *PLACE)
        assert (code, sentence in err, out) == (1, True, ""), err
    assert call("record", "label", run, "--workspace", "mistyped")[0] == 1
    assert not Path("mistyped").exists()
    with Store.open("w", read_only=True) as store:
        assert store.revisions() == []


@pytest.mark.parametrize("verdict", [(), ("--verdict", "accepted")])
def test_an_uncertain_answer_is_no_label_unless_a_person_names_it(
    call: Any, run: Path, verdict: tuple[str, ...]
) -> None:
    with Store.open("w") as store:
        case = store.case_for(open_study(run))
        store.add_answer(case, "clip-dsa-compact", {"both": {"MMD": 0.6, "IA": 0.4}}, model_version="ab")
    code, out, err = call("record", "label", run, *PLACE, *verdict)
    assert (code, out) == (1, "")
    assert "The model named no class (Uncertain: MMD or IA)" in err and "--label" in err
    with Store.open("w", read_only=True) as store:
        assert store.revisions() == []
    code, out, err = call("record", "label", run, *PLACE, *verdict, "--label", "MMD", "--json")
    assert code == 0, err
    assert (json.loads(out)["label"], json.loads(out)["verdict"]) == ("MMD", "accepted")
    assert "no label, unsure" in call("record", "label", run, *PLACE, "--verdict", "unsure")[1]


def test_a_mask_of_a_run_is_saved_on_its_frame(call: Any, run: Path) -> None:
    shape = open_study(run).views[1].pixels.shape[1:]
    mask = mask_of(shape, Path("mask.png"))
    said = (
        "--view",
        "LA",
        "--frame",
        2,
        "--mask",
        "mask.png",
        "--name",
        "net",
        "--prompt",
        "a net of vessels",
    )
    code, out, err = call("record", "mask", run, *PLACE, *said, "--author", "AB", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["view_index"], told["frame"], told["name"], told["verdict"]) == (1, 1, "net", "corrected")
    with Store.open("w", read_only=True) as store:
        (revision,) = store.all_current_masks()
        np.testing.assert_array_equal(store.read_mask(revision), mask)
        assert len(plan(store, "segmentation").training) == 1


def test_a_mask_of_the_model_keeps_its_sentence_and_model(call: Any, run: Path, clipmed_home: Path) -> None:
    entry = add_segmentation_model(Registry([clipmed_home / "models"]))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 40), dtype=np.uint8)).save("film.png")
    ask = ("segment", "film.png", "--prompt", "left lung", "--model", entry.id, "--convention", "patient")
    assert call(*ask, "--out", "model.png", "--threshold", 0.01)[0] == 0
    save = ("record", "mask", "film.png", *PLACE, "--mask", "model.png", "--answer", "model.json")
    code, out, err = call(*save, "--verdict", "accepted", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["model_id"], told["model_version"], told["threshold"]) == (entry.id, entry.card.sha256, 0.01)
    assert (told["prompt"], told["convention"], told["name"]) == ("left lung", "patient", "left lung")
    code, _, err = call("record", "mask", run, *PLACE, "--mask", "model.png", "--answer", "model.json")
    assert code == 1


def test_a_mask_that_fits_no_frame_is_refused(call: Any, run: Path) -> None:
    shape = open_study(run).views[0].pixels.shape[1:]
    mask_of(shape, Path("mask.png"))
    mask_of((30, 30), Path("small.png"))
    Image.fromarray(np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape) % 3).save("classes.png")
    Path("text.json").write_text("{}")
    for words, sentence in (
        (("--mask", "small.png"), "30x30"),
        (("--mask", "classes.png"), "several classes"),
        (("--mask", "mask.png", "--view", "PA"), "no view"),
        (("--mask", "mask.png", "--frame", 999), "no frame 999"),
        (("--mask", "mask.png", "--answer", "text.json"), "not the answer"),
        (("--mask", "none.png"), "none.png"),
    ):
        code, _, err = call("record", "mask", run, *PLACE, *words)
        assert (code, sentence in err, "Traceback" in err) == (1, True, False), err
    with Store.open("w", read_only=True) as store:
        assert store.revisions() == []
