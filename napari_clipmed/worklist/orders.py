"""In which order cases are best read: where the model is unsure, where answers disagree, or the most various.

All scores are in [0, 1]; the highest comes first, and what has none comes last, in the order as added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.worklist.lines import Line
from napari_clipmed.worklist.words import Order

Vector = NDArray[np.float32]

MOST_PICKS = 1000
"""So many cases are ordered by diversity; nobody reads more before the list is made anew."""


def entropy(chances: Mapping[str, float]) -> float:
    """Entropy of probabilities over its greatest value: 0 for certainty, 1 for no idea."""
    p = np.array(list(chances.values()), dtype=float)
    if len(p) < 2 or p.sum() <= 0:
        return float("nan")
    p = p[p > 0] / p.sum()
    return float(-(p * np.log(p)).sum() / np.log(len(chances)))


def views_disagree(probabilities: Mapping[str, Mapping[str, float]]) -> float:
    """Jensen-Shannon divergence of the AP and LA answers, to base 2: 0 where they agree, 1 at most."""
    if "AP" not in probabilities or "LA" not in probabilities:
        return float("nan")
    keys = list(probabilities["AP"])
    p, q = (np.array([probabilities[name].get(key, 0.0) for key in keys]) for name in ("AP", "LA"))
    if p.sum() <= 0 or q.sum() <= 0:
        return float("nan")
    p, q = p / p.sum(), q / q.sum()
    return max(0.0, 0.5 * (_divergence(p, (p + q) / 2) + _divergence(q, (p + q) / 2)))


def reader_disagrees(line: Line) -> float:
    """How improbable the model holds the reader's label."""
    if line.answer is None or line.label is None or not line.label.label:
        return float("nan")
    return 1.0 - line.answer.combined.get(line.label.label, 0.0)


def score(line: Line, order: Order) -> float:
    """What a line is ordered by; NaN where it has no score."""
    if order is Order.READER:
        return reader_disagrees(line)
    if line.answer is None:
        return float("nan")
    if order is Order.UNCERTAINTY:
        return entropy(line.answer.combined)
    return views_disagree(line.answer.probabilities) if order is Order.VIEWS else float("nan")


def ordered(
    lines: Sequence[Line], order: Order, vectors: Mapping[str, Vector] | None = None
) -> NDArray[np.int64]:
    """Positions of `lines` in the order in which they are shown.

    Parameters
    ----------
    lines : sequence of Line
    order : Order
    vectors : mapping of str to (d,) array
        Unit embeddings by case id, for the order by diversity.
    """
    if order is Order.ADDED:
        return np.arange(len(lines))
    if order is Order.DIVERSITY:
        return _by_diversity(lines, vectors or {})
    scores = np.array([score(line, order) for line in lines], dtype=float)
    return np.argsort(np.where(np.isnan(scores), np.inf, -scores), kind="stable")


def farthest_first(vectors: NDArray[np.float32], centres: Sequence[int], n: int) -> list[int]:
    """Pick points one after the other, each the farthest from all picked before (Gonzalez 1985).

    Parameters
    ----------
    vectors : (n, d) array
        Unit vectors; their distance is one minus the cosine.
    centres : sequence of int
        Points that count as picked already, such as the cases that were read (k-centre selection as in
        Sener and Savarese, ICLR 2018). Without any, the point nearest to the mean is picked first.
    n : int
        How many to pick.
    """
    picked: list[int] = []
    taken = np.zeros(len(vectors), bool)
    taken[list(centres)] = True
    nearest = np.full(len(vectors), np.inf, np.float32)
    for centre in centres:
        nearest = np.minimum(nearest, 1 - vectors @ vectors[centre])
    if not len(centres) and len(vectors):
        picked.append(int(np.argmax(vectors @ vectors.mean(axis=0))))
    while len(picked) < min(n, len(vectors) - len(centres)):
        if picked:
            nearest = np.minimum(nearest, 1 - vectors @ vectors[picked[-1]])
            taken[picked[-1]] = True
        picked.append(int(np.argmax(np.where(taken, -np.inf, nearest))))
    return picked


def _by_diversity(lines: Sequence[Line], vectors: Mapping[str, Vector]) -> NDArray[np.int64]:
    """What was read counts as known and comes after the rest; what has no embedding comes last."""
    known = [place for place, line in enumerate(lines) if line.case in vectors]
    if not known:
        return np.arange(len(lines))
    matrix = np.stack([vectors[lines[place].case or ""] for place in known]).astype(np.float32)
    read = [row for row, place in enumerate(known) if lines[place].label is not None]
    picks = [known[row] for row in farthest_first(matrix, read, MOST_PICKS)]
    chosen = set(picks)
    rest = [place for place in known if place not in chosen and lines[place].label is None]
    after = [place for place in range(len(lines)) if place not in chosen and place not in set(rest)]
    labelled_first = sorted(after, key=lambda place: lines[place].case not in vectors)
    return np.array([*picks, *rest, *labelled_first], dtype=np.int64)


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    some = p > 0
    return float((p[some] * np.log2(p[some] / q[some])).sum())
