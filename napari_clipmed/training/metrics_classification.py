"""How good a diagnosis model is, with the uncertainty that comes from few patients.

Two areas under the curve are given, since they are not comparable: of the scores (``auc_ovr``), and of the
hard decisions (``auc_hard``, one-hot predictions, the mean of macro recall and macro specificity), which is
what the figures of the CLIP-DSA paper fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Scores = NDArray[np.floating[Any]]
Truth = NDArray[np.integer[Any]]


def auc(score: Scores, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve (Mann-Whitney, ties count half); NaN when a class is absent."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def macro_auc(scores: Scores, truth: Truth) -> float:
    """Mean over the classes present of one-against-rest AUC of scores (n, K)."""
    each = [auc(scores[:, k], truth == k) for k in range(scores.shape[1])]
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def hard_auc(scores: Scores, truth: Truth) -> float:
    """`macro_auc` of the one-hot decisions."""
    return macro_auc(np.eye(scores.shape[1])[scores.argmax(axis=1)], truth)


def pairwise_auc(scores: Scores, truth: Truth, label: int, normal: int = 0) -> float:
    """AUC of one class against the normal one alone, by the share of its score in the two."""
    chosen = (truth == label) | (truth == normal)
    pair = scores[chosen][:, [normal, label]]
    return auc(pair[:, 1] / pair.sum(axis=1).clip(1e-12), truth[chosen] == label)


def accuracy(scores: Scores, truth: Truth) -> float:
    """Share of studies whose most probable class is the true one."""
    return float((scores.argmax(axis=1) == truth).mean())


def macro_f1(scores: Scores, truth: Truth) -> float:
    """Mean F1 over the classes present in truth or prediction."""
    table = confusion(scores, truth)
    right, wanted, given = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    present = (wanted + given) > 0
    return float((2 * right[present] / (wanted + given)[present]).mean())


def confusion(scores: Scores, truth: Truth) -> NDArray[np.int64]:
    """Counts (K, K): rows are the truth, columns the prediction."""
    classes = scores.shape[1]
    flat = truth * classes + scores.argmax(axis=1)
    return np.bincount(flat, minlength=classes**2).reshape(classes, classes)


def calibration_error(scores: Scores, truth: Truth, bins: int = 10) -> float:
    """Expected calibration error of the most probable class, equal-width bins."""
    filled = reliability(scores, truth, bins)
    return float(sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in filled) / len(truth))


def reliability(scores: Scores, truth: Truth, bins: int = 10) -> list[dict[str, float]]:
    """Mean ``confidence`` and ``accuracy`` of the most probable class, and ``n``, in each bin that holds any.

    Bins are of equal width and named by their lower end, ``above``.
    """
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == truth
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "above": b / bins,
            "n": int((which == b).sum()),
            "confidence": float(confidence[which == b].mean()),
            "accuracy": float(right[which == b].mean()),
        }
        for b in range(bins)
        if (which == b).any()
    ]


def patient_bootstrap(
    metrics: dict[str, Callable[[Scores, Truth], float]],
    scores: Scores,
    truth: Truth,
    patients: Sequence[str],
    rounds: int = 1000,
    seed: int = 0,
) -> dict[str, list[float]]:
    """95 % percentile intervals; patients, not studies, are drawn with replacement.

    Returns
    -------
    dict of str to [low, high]
    """
    rng = np.random.default_rng(seed)
    _, owner = np.unique(np.asarray(patients), return_inverse=True)
    members = [np.flatnonzero(owner == p) for p in range(owner.max() + 1)]
    drawn: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(rounds):
        chosen = np.concatenate([members[p] for p in rng.integers(len(members), size=len(members))])
        for name, metric in metrics.items():
            drawn[name].append(metric(scores[chosen], truth[chosen]))
    return {name: [round(float(q), 4) for q in np.nanpercentile(v, [2.5, 97.5])] for name, v in drawn.items()}


def classification_report(
    scores: Scores,
    truth: Truth,
    patients: Sequence[str],
    labels: Sequence[str],
    rounds: int = 1000,
) -> dict[str, Any]:
    """All figures of a set of answers.

    Parameters
    ----------
    scores : (n, K) array
        Probabilities, rows summing to one.
    truth : (n,) int array
    patients : sequence of str
        Whose study each is.
    labels : sequence of str
        Keys of the K classes, the normal one first.
    rounds : int
        Bootstrap rounds; 0 leaves the intervals out.

    Returns
    -------
    dict
        ``n``, ``patients``, the metrics, ``auc_pairwise`` and ``auc_ovr_each`` by class, ``confusion``
        (rows truth), and ``ci95`` with an interval for each metric.
    """
    metrics: dict[str, Callable[[Scores, Truth], float]] = {
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "auc_ovr": macro_auc,
        "auc_hard": hard_auc,
    }
    pairs = {
        f"auc_{key}_vs_{labels[0]}": (lambda s, t, k=k: pairwise_auc(s, t, k))
        for k, key in enumerate(labels)
        if k
    }
    report: dict[str, Any] = {"n": len(truth), "patients": len(set(patients))}
    report |= {name: round(metric(scores, truth), 4) for name, metric in metrics.items()}
    report["calibration_error"] = round(calibration_error(scores, truth), 4)
    report["auc_pairwise"] = {
        key: round(pairwise_auc(scores, truth, k), 4) for k, key in enumerate(labels) if k
    }
    report["auc_ovr_each"] = {key: round(auc(scores[:, k], truth == k), 4) for k, key in enumerate(labels)}
    report["confusion"] = {"labels": list(labels), "rows_are_truth": confusion(scores, truth).tolist()}
    if rounds:
        report["ci95"] = patient_bootstrap(metrics | pairs, scores, truth, patients, rounds)
    return report
