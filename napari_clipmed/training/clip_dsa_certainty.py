"""Does a CLIP-DSA model know what it does not know? Calibration, prediction sets, certain answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_clipmed.inference.certainty import BOTH, judge
from napari_clipmed.inference.prediction_sets import COVERAGE, prediction_set
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.training.clip_dsa_evaluate import Answers
from napari_clipmed.training.metrics_classification import (
    Scores,
    Truth,
    accuracy,
    calibration_error,
    patient_bootstrap,
    reliability,
)

SHARES = (0.5, 0.7, 0.9)
"""Shares of the studies, the most confident ones, on which selective accuracy is given."""


def certainty_figures(
    answers: Answers,
    labels: LabelSet,
    calibration: Mapping[str, Any],
    statistics: Mapping[str, Tensor],
    rounds: int = 1000,
) -> dict[str, Any]:
    """How far the answers of both views together can be trusted, and how often the model says so.

    Parameters
    ----------
    answers : Answers
        Of studies that set neither temperature nor sets; described, if unlike ones are to be counted.
    labels : LabelSet
    calibration : mapping
        Of the model's card.
    statistics : mapping of str to Tensor
        The ``ood.*`` tensors stored with its weights.
    rounds : int
        Bootstrap rounds over patients; 0 leaves the intervals out.

    Returns
    -------
    dict
        ``calibration_error`` and ``calibration_error_uncalibrated`` (ECE, ten bins); ``reliability``;
        ``sets`` (None without thresholds): ``coverage`` and ``size``, overall and ``by_class``;
        ``uncertain``, the share of answers that name no class, and ``uncertain_by_class``;
        ``accuracy_certain`` and ``accuracy_uncertain`` (of the most probable class; None where there are
        none); ``confident_wrong``, the share of all studies named wrongly; ``selective_accuracy`` on the most
        confident `SHARES`; ``unlike_training``, a share; ``ci95``.
    """
    scores, raw = answers.probabilities(BOTH, calibration), answers.probabilities(BOTH, {})
    truth, strange = answers.truth, answers.strange(statistics, calibration)
    members = _members(scores, labels.keys, calibration)
    certain = _certain(answers, labels.keys, calibration, strange, members)
    right = scores.argmax(axis=1) == truth
    result: dict[str, Any] = {
        "n": len(truth),
        "calibration_error": round(calibration_error(scores, truth), 4),
        "calibration_error_uncalibrated": round(calibration_error(raw, truth), 4),
        "reliability": {"calibrated": reliability(scores, truth), "uncalibrated": reliability(raw, truth)},
        "sets": None if members is None else _set_figures(members, truth, labels.keys),
        "uncertain": _share(~certain),
        "uncertain_by_class": {key: _share(~certain[truth == k]) for k, key in enumerate(labels.keys)},
        "accuracy_certain": _share(right[certain]),
        "accuracy_uncertain": _share(right[~certain]),
        "confident_wrong": _share(certain & ~right),
        "selective_accuracy": selective_accuracy(scores, truth),
        "unlike_training": _share(strange),
    }
    if rounds:
        patients = [row.patient for row in answers.rows]
        result["ci95"] = _intervals(scores, truth, certain, members, patients, rounds)
    return result


def selective_accuracy(scores: Scores, truth: Truth) -> dict[str, float]:
    """Accuracy on the most confident shares of the studies, by the probability of the leading class.

    Geifman and El-Yaniv, NeurIPS 2017: what a model gets right when it may leave the rest to others.
    """
    order = np.argsort(-scores.max(axis=1), kind="stable")
    taken = {share: order[: max(1, round(share * len(order)))] for share in SHARES}
    return {f"{share:.0%}": round(accuracy(scores[few], truth[few]), 4) for share, few in taken.items()}


def _members(scores: Scores, keys: Sequence[str], calibration: Mapping[str, Any]) -> NDArray[np.bool_] | None:
    """Which classes (n, K) are in each prediction set, as the engine makes them; None without sets."""
    found = [
        prediction_set(dict(zip(keys, map(float, row), strict=True)), calibration, BOTH) for row in scores
    ]
    if any(one is None for one in found):
        return None
    return np.array([[key in (one or ()) for key in keys] for one in found])


def _certain(
    answers: Answers,
    keys: Sequence[str],
    calibration: Mapping[str, Any],
    strange: NDArray[np.bool_],
    members: NDArray[np.bool_] | None,
) -> NDArray[np.bool_]:
    """Which answers (n,) name a class."""
    by_head = {name: answers.probabilities(name, calibration) for name in answers.logits}
    found = []
    for n in range(len(answers.truth)):
        said = {name: dict(zip(keys, map(float, rows[n]), strict=True)) for name, rows in by_head.items()}
        possible = None if members is None else [key for k, key in enumerate(keys) if members[n, k]]
        found.append(judge(said, bool(strange[n]), possible).certain)
    return np.array(found)


def _set_figures(members: NDArray[np.bool_], truth: Truth, keys: Sequence[str]) -> dict[str, Any]:
    covered, size = members[np.arange(len(truth)), truth], members.sum(axis=1)
    by_class = {}
    for k, key in enumerate(keys):
        own = truth == k
        by_class[key] = {
            "n": int(own.sum()),
            "coverage": _share(covered[own]),
            "size": round(float(size[own].mean()), 3) if own.any() else None,
        }
    return {
        "promised": COVERAGE,
        "coverage": _share(covered),
        "size": round(float(size.mean()), 3),
        "alone": _share(size == 1),
        "empty": _share(size == 0),
        "by_class": by_class,
    }


def _intervals(
    scores: Scores,
    truth: Truth,
    certain: NDArray[np.bool_],
    members: NDArray[np.bool_] | None,
    patients: Sequence[str],
    rounds: int,
) -> dict[str, list[float]]:
    """Patients drawn with replacement; what is known of a study travels with it as columns of its scores."""
    k = scores.shape[1]
    told = np.zeros_like(scores, bool) if members is None else members
    table = np.column_stack([scores, told, certain])

    def of_certain(t: Scores, y: Truth) -> float:
        kept = t[:, -1] > 0
        return accuracy(t[kept, :k], y[kept]) if kept.any() else float("nan")

    def wrong(t: Scores, y: Truth) -> float:
        return float(((t[:, -1] > 0) & (t[:, :k].argmax(axis=1) != y)).mean())

    metrics: dict[str, Callable[[Scores, Truth], float]] = {
        "calibration_error": lambda t, y: calibration_error(t[:, :k], y),
        "uncertain": lambda t, y: float((t[:, -1] == 0).mean()),
        "accuracy_certain": of_certain,
        "confident_wrong": wrong,
    }
    if members is not None:
        metrics["coverage"] = lambda t, y: float(t[np.arange(len(y)), k + y].mean())
        metrics["size"] = lambda t, y: float(t[:, k : 2 * k].sum(axis=1).mean())
    return patient_bootstrap(metrics, table, truth, patients, rounds)


def _share(chosen: NDArray[np.bool_]) -> float | None:
    return round(float(chosen.mean()), 4) if len(chosen) else None
