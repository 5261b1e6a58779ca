"""Prediction sets: which classes a study may have, so that the true one is among them nine times in ten.

Split conformal prediction with the least ambiguous score, one minus the probability of the class, and a
threshold for each class (Sadinle, Lei and Wasserman, JASA 114:223, 2019, "Least ambiguous set-valued
classifiers with bounded error levels", their class-specific errors; Vovk, ACML 2012, on why that is valid).
A class belongs to the set when its probability is at least its threshold. This score gives the smallest sets
on average; adaptive scores (APS: Romano, Sesia and Candès, NeurIPS 2020) give larger ones to the same end.
The thresholds are by class because the promise that counts is to the patient who has a disease: one threshold
for all reaches 90 % over all studies with the easy diseases and may miss half of a hard one.

The promise holds for studies drawn like those that the thresholds were fitted on, and for no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

COVERAGE = 0.9
"""Share of the studies of every class whose set holds the true class."""

HIGHEST_THRESHOLD = 0.5
"""A class that is more probable than all others together is always possible.

For a disease that the network never misses the threshold would be 0.99…, and one such study in ten would be
left with an empty set although nothing speaks for another class. A lower threshold only adds to coverage.
"""


def fit_thresholds(
    probabilities: NDArray[np.floating[Any]], truth: NDArray[np.integer[Any]], coverage: float = COVERAGE
) -> NDArray[np.float64]:
    """Least probability with which each class belongs to a set.

    Parameters
    ----------
    probabilities : (n, K) array
        Calibrated, of studies that neither the network nor its temperature was fitted to.
    truth : (n,) int array
        The true class of each.
    coverage : float
        In (0, 1).

    Returns
    -------
    (K,) float64 array
        With n_k studies of class k, the floor((n_k + 1)(1 - coverage))-th smallest probability that they gave
        it, at most `HIGHEST_THRESHOLD`. 0 where there are too few to promise anything (less than 9 for 90 %):
        the class is then in every set.
    """
    thresholds = np.zeros(probabilities.shape[1])
    for k in range(len(thresholds)):
        own = np.sort(probabilities[truth == k, k].astype(np.float64))
        # 1 - 0.9 is a little less than 0.1, which must not cost a whole rank.
        rank = int(np.floor((len(own) + 1) * (1 - coverage) + 1e-9))
        if rank:
            thresholds[k] = min(own[rank - 1], HIGHEST_THRESHOLD)
    return thresholds


def describe_thresholds(
    thresholds: Mapping[str, NDArray[np.float64]], labels: Sequence[str], n: int
) -> dict[str, Any]:
    """Thresholds of each answer ("AP", "LA", "both") as plain data, for ``prediction_sets`` of a card.

    Parameters
    ----------
    thresholds : mapping of str to (K,) array
        From `fit_thresholds`, at `COVERAGE`.
    labels : sequence of str
        Keys of the K classes.
    n : int
        Studies they were fitted on.
    """
    return {
        "method": "split conformal, least ambiguous sets, a threshold for each class",
        "coverage": COVERAGE,
        "fitted_on": f"{n} validation studies that did not set the temperature",
        "thresholds": {
            name: dict(zip(labels, map(float, values), strict=True)) for name, values in thresholds.items()
        },
    }


def prediction_set(
    probabilities: Mapping[str, float], calibration: Mapping[str, Any], name: str
) -> tuple[str, ...] | None:
    """The classes that a study may have, most probable first.

    Parameters
    ----------
    probabilities : mapping of str to float
        Calibrated, by key of the class.
    calibration : mapping
        Of the model's card.
    name : str
        The answer they are of: "AP", "LA" or "both".

    Returns
    -------
    tuple of str, or None
        May be empty. None when the card has no thresholds for this answer and these classes, as on models
        exported before there were any, or whose classes have changed since.
    """
    thresholds = calibration.get("prediction_sets", {}).get("thresholds", {}).get(name)
    if thresholds is None or set(thresholds) != set(probabilities):
        return None
    ranked = sorted(probabilities, key=lambda label: -probabilities[label])
    return tuple(label for label in ranked if probabilities[label] >= thresholds[label])
