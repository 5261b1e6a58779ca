"""The stages run at the same time, in order, with few cases in memory."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from napari_clipmed.batch import pipeline
from napari_clipmed.batch.case import AnsweredCase, CaseJob, CaseResult, Question, ReadCase
from napari_clipmed.errors import Cancelled
from napari_clipmed.progress import Progress

QUESTION = Question("diagnosis", "m", "h")


def jobs(count: int) -> list[CaseJob]:
    return [CaseJob(number, (f"{number}.dcm",), QUESTION) for number in range(1, count + 1)]


class Stages:
    """Steps that only count, in the place of reading, asking and drawing."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.read = self.drawn = self.most_waiting = 0
        self.read_while_answering = threading.Event()
        self.answering = False
        self.threads: dict[str, set[int]] = {"read": set(), "answer": set(), "dress": set()}

    def read_case(self, job: CaseJob, done: object = None) -> ReadCase:
        with self.lock:
            self.read += 1
            self.most_waiting = max(self.most_waiting, self.read - self.drawn)
        self.threads["read"].add(threading.get_ident())
        if self.answering:
            self.read_while_answering.set()
        return ReadCase(job, failed={"status": "failed", "number": 3} if job.number == 3 else None)

    def answer_case(self, read: ReadCase, engine: object, progress: Progress) -> AnsweredCase:
        self.answering = True
        self.threads["answer"].add(threading.get_ident())
        if read.job.number == 1:
            assert self.read_while_answering.wait(10), "nothing was read while the model computed"
        return AnsweredCase(read, lambda: CaseResult({"status": "ok", "number": read.job.number}))

    def dress_case(self, answered: AnsweredCase) -> CaseResult:
        self.threads["dress"].add(threading.get_ident())
        return answered.finish()


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    made = Stages()
    for name in ("read_case", "answer_case", "dress_case"):
        monkeypatch.setattr(pipeline, name, getattr(made, name))
    monkeypatch.setattr(pipeline, "engine_for", lambda question: None)
    return made


def test_all_stages_are_busy_and_the_order_is_kept(stages: Stages) -> None:
    numbers = []
    for result in pipeline.stream_cases(jobs(20)):
        stages.drawn += 1
        numbers.append(result.record["number"])
    assert numbers == list(range(1, 21))
    assert not stages.threads["read"] & stages.threads["answer"]
    assert not stages.threads["dress"] & (stages.threads["read"] | stages.threads["answer"])
    assert stages.most_waiting <= 2 * pipeline.AHEAD + 3


def test_jobs_are_taken_only_as_fast_as_they_are_worked_on(stages: Stages) -> None:
    taken = 0

    def endless():
        nonlocal taken
        for job in jobs(1000):
            taken += 1
            yield job

    stream = pipeline.stream_cases(endless())
    next(stream)
    stream.close()
    assert taken <= 2 * pipeline.AHEAD + 3


def test_a_cancelled_batch_stops(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress()

    def answer(read: ReadCase, engine: object, progress: Progress) -> AnsweredCase:
        progress.step("Reading")
        return stages.answer_case(read, engine, progress)

    monkeypatch.setattr(pipeline, "answer_case", answer)
    stages.read_while_answering.set()
    stream = pipeline.stream_cases(jobs(50), progress=progress)
    next(stream)
    progress.cancel()
    with pytest.raises(Cancelled):
        list(stream)


def test_the_key_names_bytes_model_and_question_but_no_place(tmp_path: Path) -> None:
    here, there = (
        Question("diagnosis", "m", "h", workspace=w, device=d) for w, d in (("a", "cpu"), ("b", "cuda"))
    )
    assert here.key("x") == there.key("x")
    other = Question("diagnosis", "m", "h2")
    assert len({here.key("x"), here.key("y"), other.key("x")}) == 3
