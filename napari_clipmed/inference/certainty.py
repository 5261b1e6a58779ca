"""Is the answer of a diagnosis model sure enough to name a disease? The one place that decides.

Windows, commands, pictures and reports ask `judge` and say its `headline`; the numbers stay beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

BOTH = "both"
"""Key of the multi-view answer beside the single-view ones ("AP", "LA")."""

UNCERTAIN = "Uncertain"

LIKELY = 0.8
"""What the most probable class must reach.

Chosen on validation studies of the compact model: of the answers between 0.5 and 0.8 that were the only class
of their set, nearly half were wrong.
"""

CONTRARY = 0.5
"""Two views that name different classes, each with at least this, contradict each other."""

MOST_CANDIDATES = 3
"""Classes in a headline."""

_NO_TITLES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Certainty:
    """Whether a diagnosis may be named.

    Parameters
    ----------
    candidates : tuple of str
        Keys of the classes to be named, the most probable first: one of a certain answer; two or three of an
        uncertain one.
    reasons : tuple of str
        Why it is uncertain, in sentences; empty where it is certain.
    """

    candidates: tuple[str, ...]
    reasons: tuple[str, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether nothing speaks against naming the class."""
        return not self.reasons

    def headline(self, titles: Mapping[str, str] = _NO_TITLES) -> str:
        """The answer in a line: a class, or "Uncertain: " and the leading candidates.

        Parameters
        ----------
        titles : mapping of str to str
            Names for people by key; a key without one stands for itself.
        """
        named = [titles.get(label, label) for label in self.candidates]
        return named[0] if self.certain else f"{UNCERTAIN}: {_joined(named, 'or')}"

    def nothing_named(self, titles: Mapping[str, str] = _NO_TITLES) -> str:
        """That there is no class to accept, in a sentence; empty where there is one."""
        return "" if self.certain else f"The model named no class ({self.headline(titles)})."


def judge(
    probabilities: Mapping[str, Mapping[str, float]],
    unlike_training: bool,
    possible: Sequence[str] | None = None,
    titles: Mapping[str, str] = _NO_TITLES,
) -> Certainty:
    """Decide whether an answer is certain.

    It is uncertain when any of these holds: the study is unlike the training data, where neither
    probabilities nor sets keep their promise; the prediction set holds several classes, none, or another one
    than the most probable; the AP and LA views name different classes, each with `CONTRARY` or more; the most
    probable class does not reach `LIKELY`.

    Parameters
    ----------
    probabilities : mapping of str to mapping of str to float
        Calibrated, ``probabilities["AP" | "LA" | "both"][label]``, of one answer at least.
    unlike_training : bool
    possible : sequence of str, optional
        The prediction set of the combined answer (`inference.prediction_sets`); None where the model has
        none.
    titles : mapping of str to str
        Names of classes for the reasons.
    """
    combined = combine(probabilities)
    leading = max(combined, key=lambda label: combined[label])
    views = {name: max(p, key=lambda label: p[label]) for name, p in probabilities.items() if name != BOTH}

    def named(label: str) -> str:
        return titles.get(label, label)

    reasons = []
    if unlike_training:
        reasons.append("The study is unlike what the model learned from; its numbers may mean little.")
    if possible is not None and not possible:
        reasons.append("No class is typical enough: the 90 % prediction set is empty.")
    elif possible is not None and tuple(possible) != (leading,):
        reasons.append(f"The 90 % prediction set holds {_joined([named(one) for one in possible], 'and')}.")
    if len(set(views.values())) > 1 and all(probabilities[v][top] >= CONTRARY for v, top in views.items()):
        reasons.append(f"{_joined(list(views), 'and')} contradict each other.")
    if combined[leading] < LIKELY:
        reasons.append(
            f"{named(leading)} reaches {combined[leading]:.2f}; it takes {LIKELY:.2f} to be named."
        )
    return Certainty(
        _candidates(combined, {*(possible or ()), *views.values()}, bool(reasons)), tuple(reasons)
    )


def combine(probabilities: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    """Probabilities of both views together, or of the only view."""
    return probabilities.get(BOTH) or next(iter(probabilities.values()))


def _candidates(combined: Mapping[str, float], named: set[str], uncertain: bool) -> tuple[str, ...]:
    """The leading class; of an uncertain answer also what sets and views name, two classes at least."""
    ranked = sorted(combined, key=lambda label: -combined[label])
    if not uncertain:
        return (ranked[0],)
    wanted = {ranked[0], *named}
    if len(wanted) < 2:
        wanted.update(ranked[:2])
    return tuple(label for label in ranked if label in wanted)[:MOST_CANDIDATES]


def _joined(words: Sequence[str], last: str) -> str:
    """Words as a list in a sentence: A; A or B; A, B or C."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
