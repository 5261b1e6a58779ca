"""What was said about a case as a whole, by a model and by readers, in the order in which it was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from napari_clipmed.inference.certainty import BOTH, combine, judge
from napari_clipmed.records import Answer, Revision, RevisionKind, Store, Verdict


@dataclass(frozen=True)
class Statement:
    """One thing that was said about a study as a whole.

    Parameters
    ----------
    label : str
        Key of the class; of an uncertain answer of the most probable one, which is not to be named alone.
    probability : float or None
        Of that class, by the model.
    by_view : mapping of str to float
        The same from single views ("AP", "LA").
    model_id, model_version : str
        What answered; the version is the SHA-256 of its weights.
    verdict : Verdict or None
        Of the reader; None on what the model said.
    author : str
        Initials of the reader.
    candidates : tuple of str
        Of an uncertain answer of the model, the classes to be named, `label` first; else empty.
    """

    label: str
    probability: float | None
    model_id: str
    model_version: str
    moment: datetime
    by_view: Mapping[str, float] = field(default_factory=dict)
    unlike_training: bool = False
    verdict: Verdict | None = None
    author: str = ""
    candidates: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[object, ...]:
        """All of it in a fixed form, whichever database it came from."""
        moment = self.moment.astimezone(UTC).isoformat()
        model = (self.model_id, self.model_version, self.unlike_training)
        verdict = self.verdict.value if self.verdict else ""
        return (
            self.label,
            self.probability,
            *sorted(self.by_view.items()),
            *model,
            moment,
            verdict,
            self.author,
            *self.candidates,
        )

    @property
    def verified(self) -> bool:
        """Whether a reader stands for it: accepted or corrected, and with initials."""
        return self.verdict in (Verdict.ACCEPTED, Verdict.CORRECTED) and bool(self.author)


def statements_of(store: Store, case: str) -> list[Statement]:
    """What was said about the label of a case, oldest first, as far as it leads to what holds now."""
    held = store.current_label(case)
    line = _line_to(held, store.revisions(case)) if held else []
    judged = next((r for r in line if r.model_id), None)
    answer = _answer_judged(store.answers(case), judged)
    said = [_by_model(answer)] if answer else [_by_judged(judged)] if judged and judged.model_label else []
    return said + [s for s in (_by_reader(r, answer) for r in line) if s is not None]


def _line_to(held: Revision, revisions: Sequence[Revision]) -> list[Revision]:
    """The label revisions that lead to the one that holds, oldest first, without withdrawn ones."""
    known = {r.id: r for r in revisions if r.kind is RevisionKind.LABEL}
    line, at = [], held
    while True:
        if not at.withdrawn:
            line.append(at)
        if at.parent_id is None or at.parent_id not in known:
            return line[::-1]
        at = known[at.parent_id]


def _answer_judged(answers: Sequence[Answer], judged: Revision | None) -> Answer | None:
    """What the model said when it was first asked: the same answer is saved again with every verdict."""
    if judged is not None:
        named = (judged.model_id, judged.model_version, judged.model_label)
        return next((a for a in answers if (a.model_id, a.model_version, _top(a)[0]) == named), None)
    if not answers:
        return None
    last = answers[-1]
    same = (last.model_id, last.model_version, last.probabilities)
    return next(a for a in answers if (a.model_id, a.model_version, a.probabilities) == same)


def _top(answer: Answer) -> tuple[str, float]:
    combined = combine(answer.probabilities)
    label = max(combined, key=lambda key: combined[key])
    return label, combined[label]


def _single(answer: Answer | None, label: str) -> dict[str, float]:
    """Probability of a class from single views, where there are several."""
    if answer is None or BOTH not in answer.probabilities:
        return {}
    return {
        view: some[label] for view, some in answer.probabilities.items() if view != BOTH and label in some
    }


def _by_model(answer: Answer) -> Statement:
    label, probability = _top(answer)
    certainty = judge(answer.probabilities, answer.unlike_training, answer.possible)
    return Statement(
        label, probability, answer.model_id, answer.model_version, answer.created_at, _single(answer, label),
        answer.unlike_training, candidates=() if certainty.certain else certainty.candidates,
    )  # fmt: skip


def _by_judged(revision: Revision) -> Statement:
    """What the model had said, as the reader's verdict keeps it."""
    return Statement(
        revision.model_label or "",
        revision.model_score,
        revision.model_id,
        revision.model_version,
        revision.created_at,
    )


def _by_reader(revision: Revision, answer: Answer | None) -> Statement | None:
    label = revision.label or revision.model_label
    if label is None or revision.verdict is None:
        return None
    agreed = label == revision.model_label
    judged = (revision.model_id, revision.model_version)
    if answer is not None and (answer.model_id, answer.model_version) != judged:
        answer = None  # a later verdict may be about another model
    return Statement(
        label,
        revision.model_score if agreed else None,
        revision.model_id,
        revision.model_version,
        revision.created_at,
        _single(answer, label) if agreed else {},
        answer.unlike_training if answer else False,
        revision.verdict,
        revision.author,
    )
