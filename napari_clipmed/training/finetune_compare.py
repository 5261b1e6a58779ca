"""Old and new model side by side on the same cases: figures with intervals, and what changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.training.finetune_figures import HEADLINE, Judgement
from napari_clipmed.training.metrics_classification import accuracy, macro_f1

ROUNDS = 1000
"""Bootstrap rounds."""

Figure = Callable[[Judgement, NDArray[np.int64]], float]


def _of_scores(metric: Callable[[Any, Any], float]) -> Figure:
    def figure(judgement: Judgement, chosen: NDArray[np.int64]) -> float:
        return metric(np.asarray(judgement.scores)[chosen], np.asarray(judgement.truth)[chosen])

    return figure


def _dice(judgement: Judgement, chosen: NDArray[np.int64]) -> float:
    return float(np.asarray(judgement.dice)[chosen].mean())


FIGURES: Mapping[str, Mapping[str, Figure]] = {
    "diagnosis": {"macro_f1": _of_scores(macro_f1), "accuracy": _of_scores(accuracy)},
    "segmentation": {"dice_mean": _dice},
}


def compare(before: Judgement, after: Judgement, rounds: int = ROUNDS, seed: int = 0) -> dict[str, Any]:
    """Each figure of both models and of the difference, with 95 % intervals.

    Patients, not cases, are drawn with replacement, the same ones for both models, so that the interval of
    the difference is that of the paired comparison.

    Parameters
    ----------
    before, after : Judgement
        Of the same cases in the same order.

    Returns
    -------
    dict
        ``n``, ``patients``, ``figures`` (name to ``before``, ``after``, ``difference``, each with ``value``
        and ``ci95``) and ``changed``, one row a case whose answer changed.
    """
    if before.cases != after.cases:
        raise ValueError("Two models are compared on the same cases only")
    names, owner = np.unique(np.asarray(before.patients), return_inverse=True)
    members = [np.flatnonzero(owner == p) for p in range(len(names))]
    everything = np.arange(len(before.cases))
    rng = np.random.default_rng(seed)
    drawn = [
        np.concatenate([members[p] for p in rng.integers(len(members), size=len(members))])
        for _ in range(rounds if len(members) > 1 else 0)
    ]
    figures = {}
    for name, figure in FIGURES[before.task].items():
        values = np.array([[figure(j, everything) for j in (before, after)]])
        spread = np.array([[figure(j, chosen) for j in (before, after)] for chosen in drawn])
        figures[name] = {
            "before": _row(values[:, 0], spread[:, 0] if len(spread) else spread),
            "after": _row(values[:, 1], spread[:, 1] if len(spread) else spread),
            "difference": _row(
                values[:, 1] - values[:, 0], spread[:, 1] - spread[:, 0] if len(spread) else spread
            ),
        }
    return {
        "n": len(everything),
        "patients": len(names),
        "rounds": rounds,
        "figures": figures,
        "changed": _changed(before, after),
    }


def headline(comparison: Mapping[str, Any], task: str) -> Mapping[str, Any]:
    """The figure that decides: before, after and difference."""
    found: Mapping[str, Any] = comparison["figures"][HEADLINE[task]]
    return found


def _row(value: NDArray[np.float64], spread: NDArray[np.float64]) -> dict[str, Any]:
    interval = [float(q) for q in np.percentile(spread, [2.5, 97.5])] if len(spread) else None
    return {"value": float(value[0]), "ci95": interval}


def _changed(before: Judgement, after: Judgement) -> list[dict[str, Any]]:
    """Cases answered differently, by what they gained; masks by Dice, from a point on."""
    if before.task == "segmentation":
        rows = [
            {"case": case, "name": name, "before": old, "after": new}
            for case, name, old, new in zip(before.cases, before.names, before.dice, after.dice, strict=True)
            if abs(new - old) >= 0.01
        ]
        return sorted(rows, key=lambda row: row["before"] - row["after"])
    answers = [_answers(judgement) for judgement in (before, after)]
    found: list[dict[str, Any]] = []
    for n, case in enumerate(before.cases):
        old, new, true = answers[0][n], answers[1][n], before.truth[n]
        if old != new:
            kind = "mended" if new == true else "broken" if old == true else "still wrong"
            named = {"truth": before.names[true], "before": before.names[old], "after": before.names[new]}
            found.append({"case": case, "kind": kind} | named)
    return sorted(found, key=lambda row: ("mended", "broken", "still wrong").index(str(row["kind"])))


def _answers(judgement: Judgement) -> Sequence[int]:
    return [int(k) for k in np.asarray(judgement.scores).argmax(axis=1)]
