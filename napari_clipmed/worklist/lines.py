"""The worklist as a person reads it: entries with what readers and the model said about their cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from napari_clipmed.inference.certainty import Certainty, judge
from napari_clipmed.progress import Progress
from napari_clipmed.records import Answer, Listed, Revision, Verdict
from napari_clipmed.worklist.reading import missing

if TYPE_CHECKING:
    from napari_clipmed.records import Store


class Status(StrEnum):
    """Where a case stands."""

    TO_REVIEW = "to review"
    REVIEWED = "reviewed"
    UNSURE = "unsure"
    DISPUTED = "disputed"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Line:
    """One line of the worklist.

    Parameters
    ----------
    listed : Listed
        The entry.
    case : str or None
        Its case, where the workspace knows it.
    label : Revision or None
        The label that holds.
    answer : Answer or None
        The newest answer of the model.
    disputed : bool
        Whether two readers disagree and nobody has chosen.
    problem : str
        Why it cannot be opened.
    """

    listed: Listed
    case: str | None = None
    label: Revision | None = None
    answer: Answer | None = None
    disputed: bool = False
    problem: str = ""

    @property
    def status(self) -> Status:
        """Where the case stands."""
        if self.disputed:
            return Status.DISPUTED
        if self.label is not None:
            return Status.UNSURE if self.label.verdict is Verdict.UNSURE else Status.REVIEWED
        return Status.PROBLEM if self.problem else Status.TO_REVIEW

    @property
    def confidence(self) -> float | None:
        """Probability of the model's class; None before it answered."""
        return self.answer.combined[self.answer.predicted] if self.answer and self.answer.combined else None

    def certainty(self, titles: Mapping[str, str] | None = None) -> Certainty | None:
        """Whether the model's class may be named, with `titles` in its reasons; None before it answered."""
        answer = self.answer
        if answer is None or not answer.combined:
            return None
        return judge(answer.probabilities, answer.unlike_training, answer.possible, titles or {})

    @property
    def thumbnail(self) -> str:
        """Name of its thumbnail."""
        return self.case or self.listed.key

    def with_problem(self, sentence: str) -> Line:
        """The line when it turned out that it cannot be opened."""
        return replace(self, problem=sentence)


@dataclass(frozen=True)
class Wanted:
    """Which lines are shown; an empty field lets everything pass.

    Parameters
    ----------
    status : str
        A `Status`, or "unanswered" for what the model has not seen.
    label : str
        The reader's label.
    confidence : tuple of float
        Least and greatest (exclusive, unless 1) probability of the model's class.
    reader : str
        Whose label holds.
    words : str
        Part of the file's place, whatever its case.
    """

    status: str = ""
    label: str = ""
    confidence: tuple[float, float] = (0.0, 1.0)
    reader: str = ""
    words: str = ""

    def passes(self, line: Line) -> bool:
        """Whether a line is shown."""
        label = line.label
        if self.status == UNANSWERED and line.answer is not None:
            return False
        if self.status not in ("", UNANSWERED) and line.status != self.status:
            return False
        if self.label and (label is None or label.label != self.label):
            return False
        if self.reader and (label is None or label.author != self.reader):
            return False
        if self.confidence != (0.0, 1.0) and not self._confident(line):
            return False
        return not self.words or self.words.casefold() in line.listed.title.casefold()

    def _confident(self, line: Line) -> bool:
        low, high = self.confidence
        sure = line.confidence
        return sure is not None and low <= sure and (sure < high or high >= 1.0)


UNANSWERED = "unanswered"


def read_lines(store: Store, model_id: str = "", progress: Progress | None = None) -> list[Line]:
    """The worklist with everything that is known about its cases, in a handful of queries.

    Parameters
    ----------
    store : Store
    model_id : str
        Whose answers are shown; the newest of any model where empty.
    """
    progress = progress or Progress()
    progress.step("Reading the worklist")
    listed = store.worklist()
    labels, answers = store.current_labels(), store.newest_answers(model_id)
    disputed = {conflict.first.case_id for conflict in store.conflicts()}
    by_runs = store.cases_by_runs() if any(entry.case_id is None for entry in listed) else {}
    lines = []
    for number, entry in enumerate(listed):
        if number % 100 == 0:
            progress.step("Looking for the files", number, len(listed))
        case = entry.case_id or by_runs.get(frozenset(entry.sops))
        lines.append(
            Line(
                listed=entry,
                case=case,
                label=labels.get(case or ""),
                answer=answers.get(case or ""),
                disputed=case in disputed,
                problem=entry.problem or missing(entry),
            )
        )
    return lines


def progress_of(lines: Iterable[Line]) -> tuple[int, int]:
    """How many are reviewed, of how many that can be."""
    states = [line.status for line in lines]
    reviewed = sum(state in (Status.REVIEWED, Status.UNSURE, Status.DISPUTED) for state in states)
    return reviewed, sum(state is not Status.PROBLEM for state in states)


def model_in_use(lines: Iterable[Line]) -> str:
    """Hash of the weights that most answers come from."""
    versions = [line.answer.model_version for line in lines if line.answer is not None]
    return max(set(versions), key=versions.count, default="")
