"""A tower that knows the words is told from one that does not; sides, other words, and what is refused."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_dsa import write_fake_dsa
from qata_folder import make_qata
from typer.testing import CliRunner

from napari_clipmed.cli import evaluate_clip  # noqa: F401 - puts the command there
from napari_clipmed.cli.evaluate import evaluate_app
from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.zero_shot_sets import ZeroShotSet, parse_set, read_set
from napari_clipmed.shipped import resource
from napari_clipmed.training.clip_evaluate import judge_angiograms, judge_films, words_alone
from napari_clipmed.training.dsa_data import StudyRow, load_study, read_rows
from napari_clipmed.training.qata_data import QaTaItem, load_split

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))
from small_clips import small_clip, write_folder

LEARNED, REWORDED = read_set("dsa"), read_set(str(resource("evaluation", "dsa_reworded.yaml")))
WORDS = {
    "Control": "control|normal|healthy|without disease|no cerebrovascular|no aneurysm",
    "MMD": "moyamoya|terminal internal|suzuki|basal net|puff",
    "IA": "aneurysm|outpouching|sac beside",
    "AM": "malformation|tangle|AVM|draining|nidus",
    "AS": "stenosis|narrow",
}
"""What a reader would go by."""


class Reader:
    """A tower that knows the answers: pictures by their pixels, sentences by the first word that it knows."""

    preprocessing, temperature = Preprocessing(size=32, n_frames=4), 0.1

    def __init__(self, pictures: dict[bytes, np.ndarray], deaf: bool = False, mirrored: bool = False) -> None:
        self.pictures, self.deaf, self.mirrored = pictures, deaf, mirrored

    def read_run(self, ready: Any, name: str, progress: Any = None) -> np.ndarray:
        return self.pictures[ready.frames.numpy().tobytes()][None]

    def read_sentences(self, texts: list[str], progress: Any = None) -> dict[str, np.ndarray]:
        return {text: self.vector(text) for text in texts}

    def vector(self, text: str) -> np.ndarray:
        found = np.zeros(8, np.float32)
        if self.deaf:
            found[0] = 1.0
            return found
        for k, pattern in enumerate(WORDS.values()):
            if re.search(pattern, text, re.I):
                found[k] = 1.0
                break
        found[6 + ("left" in text)] += 0.3 * ("left" in text or "right" in text)
        return found / max(np.linalg.norm(found), 1e-6)


@pytest.fixture(scope="module")
def dsa(tmp_path_factory: pytest.TempPathFactory) -> list[StudyRow]:
    folder = write_fake_dsa(tmp_path_factory.mktemp("dsa"), n=20, frames=6)
    rows = [json.loads(line) for line in (folder / "studies.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["report"] = f"{row['label']} of the {'left' if number % 3 else 'right'} carotid."
    (folder / "studies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_rows(folder)


@pytest.fixture(scope="module")
def qata(tmp_path_factory: pytest.TempPathFactory) -> list[QaTaItem]:
    return load_split(make_qata(tmp_path_factory.mktemp("qata"), {"Train": 2, "Val": 8}), "Val")


def knowing(rows: list[StudyRow], **how: bool) -> Reader:
    """A reader to whom the pictures of these studies say class and side."""
    from napari_clipmed.inference.preprocess import prepare_run

    reader = Reader({}, **how)
    for row in rows:
        told = np.zeros(8, np.float32)
        told[list(WORDS).index(row.label)] = 1.0
        told[6 + (("left" in row.report) != reader.mirrored)] = 0.3
        for view in load_study(row).values():
            ready = prepare_run(view.frames, reader.preprocessing)
            reader.pictures[ready.frames.numpy().tobytes()] = told / np.linalg.norm(told)
    return reader


def judge(reader: Reader, rows: list[StudyRow]) -> dict[str, Any]:
    return judge_angiograms(reader, rows, LEARNED, REWORDED, rounds=20)  # type: ignore[arg-type]


def test_who_knows_the_words_names_the_classes(dsa: list[StudyRow]) -> None:
    found = judge(knowing(dsa), dsa)
    assert found["classes"]["learned"]["accuracy"] == found["classes"]["reworded"]["accuracy"] == 1.0
    assert found["classes"]["reworded"]["ci95"]["accuracy"] == [1.0, 1.0]
    assert (found["words"]["right"], found["words"]["n"]) == (20, 20)
    assert (found["side"]["n"], found["side"]["right"]) == (len(dsa), 1.0)
    assert found["similar"]["right"] == 1.0 > found["similar"]["chance"]


def test_who_knows_none_is_no_better_than_chance(dsa: list[StudyRow]) -> None:
    found = judge(knowing(dsa, deaf=True), dsa)
    assert found["classes"]["learned"]["auc_ovr"] == 0.5
    assert found["words"]["right"] == 4  # all lie nearest to the first class
    assert found["side"]["right"] == 0.0


def test_a_mixed_up_side_is_found(dsa: list[StudyRow]) -> None:
    found = judge(knowing(dsa, mirrored=True), dsa)
    assert found["classes"]["learned"]["accuracy"] == 1.0
    assert found["side"]["right"] == 0.0


def test_no_sentence_of_the_other_set_was_learned() -> None:
    taught = {text.lower() for finding in LEARNED.findings for text in LEARNED.class_sentences(finding)}
    asked = {text.lower() for finding in REWORDED.findings for text in REWORDED.class_sentences(finding)}
    assert not taught & asked
    assert set(LEARNED.keys) == set(REWORDED.keys)


def test_sentences_without_a_picture() -> None:
    told = words_alone(Reader({}), LEARNED, REWORDED)  # type: ignore[arg-type]
    assert told["right"] == told["n"] == 20
    assert {row["means"] for row in told["sentences"]} == set(LEARNED.keys)


def test_sets_of_other_classes_and_unknown_ones_are_refused(dsa: list[StudyRow]) -> None:
    two = {"name": "two", "title": "Two", "findings": [
        {"key": key, "title": key, "sentences": [key]} for key in ("Control", "MMD")
    ]}  # fmt: skip
    other: ZeroShotSet = parse_set(two)
    with pytest.raises(ClipmedError, match="same classes"):
        judge_angiograms(Reader({}), dsa, LEARNED, other)  # type: ignore[arg-type]
    with pytest.raises(ClipmedError, match="does not know"):
        judge_angiograms(Reader({}), dsa, other, other)  # type: ignore[arg-type]
    with pytest.raises(ClipmedError, match="no studies"):
        judge_angiograms(Reader({}), [], LEARNED, REWORDED)  # type: ignore[arg-type]
    with pytest.raises(ClipmedError, match="no films"):
        judge_films(Reader({}), [])  # type: ignore[arg-type]


def test_films_by_their_lungs(qata: list[QaTaItem]) -> None:
    from napari_clipmed.inference.preprocess import prepare_run
    from napari_clipmed.training.segmentation_batches import read_grey

    reader = Reader({})
    for item in qata:
        told = np.zeros(8, np.float32)
        told[6], told[7] = "right" in item.sentence, "left" in item.sentence
        ready = prepare_run(read_grey(item.image)[None], reader.preprocessing)
        reader.pictures[ready.frames.numpy().tobytes()] = told / np.linalg.norm(told)
    found = judge_films(reader, qata, rounds=20)  # type: ignore[arg-type]
    assert found["lungs"]["right"] == found["side"]["right"] == 1.0
    assert found["side"]["n"] <= found["films"] == 8


def test_the_command_tells_both(dsa: list[StudyRow], qata: list[QaTaItem], tmp_path: Path) -> None:
    tower = write_folder(tmp_path / "tower", small_clip())
    data, films = dsa[0].file.parents[1], qata[0].image.parents[2]
    words = ["clip", "--backbone", f"local-dir:{tower}", "--angiograms", str(data), "--films", str(films)]
    done = CliRunner().invoke(evaluate_app, [*words, "--split", "val", "--rounds", "10", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["backbone"] == "local-dir:tower"
    assert told["angiograms"]["words"]["n"] == 20
    assert told["films"]["films"] == 8
    shown = CliRunner().invoke(evaluate_app, [*words, "--split", "val", "--rounds", "10"])
    assert "side of the report" in shown.stdout
    nothing = CliRunner().invoke(evaluate_app, ["clip", "--backbone", f"local-dir:{tower}"])
    assert isinstance(nothing.exception, ClipmedError)
