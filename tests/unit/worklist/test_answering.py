"""The model's answers about a whole list: kept, interruptible, and one bad file stops nothing."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))

from worklist_folder import folder, store  # noqa: E402

from napari_clipmed.errors import Cancelled
from napari_clipmed.inference.results import Diagnosis
from napari_clipmed.progress import Progress
from napari_clipmed.records import Listed, Store
from napari_clipmed.worklist import answering
from napari_clipmed.worklist.adding import entries_in
from napari_clipmed.worklist.answering import Gate, answer_all
from napari_clipmed.worklist.keeping import Shelves
from napari_clipmed.worklist.reading import read_study

__all__ = ["folder", "store"]


class Engine:
    """Answers in small steps; remembers how often it was asked and interrupted."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.asked, self.interrupted = seconds, 0, 0
        self.at_work = threading.Event()

    def classify(self, study, progress: Progress) -> Diagnosis:
        self.asked += 1
        self.at_work.set()
        try:
            for _ in range(10):
                progress.step("Reading")
                time.sleep(self.seconds / 10)
        except Cancelled:
            self.interrupted += 1
            raise
        chances = {"AP": {"a": 0.7, "b": 0.3}}
        return Diagnosis(
            ("a", "b"), ("A", "B"), chances, {}, {"AP": 0}, "m", study.image_hash, model_version="v"
        )


@pytest.fixture
def entries(store: Store, folder: Path) -> list[Listed]:
    (folder / "exam 2" / "AP.dcm").write_bytes(b"\0" * 300)
    (folder / "exam 2" / "LA.dcm").write_bytes(b"\0" * 300)
    found = [entry for entry in entries_in([folder], Progress()) if not entry.problem]
    bad = Listed(str(folder), ("exam 2/AP.dcm",), "angiogram", sops=("9.9",))
    store.add_to_worklist([*found, bad])
    return [*found[:1], bad, *found[1:]]


def test_answers_are_kept_and_a_bad_file_costs_its_case_only(store: Store, entries) -> None:
    outcomes = list(answer_all(entries, Engine(), Shelves.of(store)))
    assert [bool(outcome.problem) for outcome in outcomes] == [False, True, False]
    assert len(store.newest_answers()) == 2
    kept = {entry.key: entry for entry in store.worklist()}
    assert kept[entries[0].key].case_id and kept[entries[1].key].problem
    list(answer_all(entries[:1], Engine(), Shelves.of(store)))
    with store._reading() as session:
        assert session.execute(text("SELECT count(*) FROM answers")).scalar() == 2  # the same answer, once


def test_a_person_comes_first_and_the_case_is_begun_anew(store: Store, entries) -> None:
    engine, gate, progress = Engine(seconds=0.5), Gate(), Progress()
    outcomes: list[object] = []
    job = threading.Thread(
        target=lambda: outcomes.extend(answer_all(entries[:1], engine, Shelves.of(store), progress, gate))
    )
    job.start()
    assert engine.at_work.wait(10)
    gate.hold("person")
    gate.hold("paused")
    gate.release("person")
    while not engine.interrupted:
        time.sleep(0.01)
    assert gate.held and engine.asked == 1 and not outcomes
    gate.release("paused")
    job.join(20)
    assert len(outcomes) == 1 and engine.asked == 2


def test_cancelling_a_held_job_ends_it(store: Store, entries) -> None:
    gate, progress = Gate(), Progress()
    gate.hold("paused")
    stopped = threading.Event()

    def work() -> None:
        with pytest.raises(Cancelled):
            list(answer_all(entries, Engine(), Shelves.of(store), progress, gate))
        stopped.set()

    threading.Thread(target=work).start()
    time.sleep(0.1)
    progress.cancel()
    assert stopped.wait(10)


def test_the_next_case_is_decoded_while_this_one_is_answered(store: Store, entries, monkeypatch) -> None:
    second = threading.Event()

    def note(listed, *rest):
        if listed is entries[2]:
            second.set()
        return read_study(listed, *rest)

    class Patient(Engine):
        def classify(self, study, progress: Progress) -> Diagnosis:
            assert second.wait(10), "nothing was decoded while the model was at work"
            return super().classify(study, progress)

    monkeypatch.setattr(answering, "read_study", note)
    outcomes = list(answer_all([entries[0], entries[2]], Patient(), Shelves.of(store)))
    assert [outcome.problem for outcome in outcomes] == ["", ""]
