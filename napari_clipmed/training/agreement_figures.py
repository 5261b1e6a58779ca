"""How well readers agree: Cohen's and Fleiss' kappa with intervals, Dice and Hausdorff distance of masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 2000
EMPTY_MASKS = (
    "two empty masks have Dice 1 and no distance; one empty mask has Dice 0 and no distance, "
    "and is left out of the distances"
)


@dataclass(frozen=True)
class Kappa:
    """A kappa with its 95 % interval.

    Parameters
    ----------
    value, low, high : float or None
        None where it is not defined: nothing was read by all, or everybody always said the same one thing.
    n : int
        Cases it rests on.
    agreement : float or None
        Share of pairs of readings that agree, without allowance for chance.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    agreement: float | None

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return asdict(self)


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> Kappa:
    """Cohen's kappa of two readers over the same cases.

    Cohen 1960 (Educ Psychol Meas 20:37); interval by the large-sample variance of Fleiss, Cohen and Everitt
    1969 (Psychol Bull 72:323), which takes cases for independent.
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    n = len(first)
    if not n:
        return Kappa(None, None, None, 0, None)
    classes = sorted({*first, *second})
    table = np.zeros((len(classes), len(classes)))
    for a, b in zip(first, second, strict=True):
        table[classes.index(a), classes.index(b)] += 1
    agreement = float(np.trace(table) / n)
    if len(classes) == 1:
        return Kappa(None, None, None, n, agreement)  # chance agreement is 1: 0/0
    found = cohens_kappa(table)
    return Kappa(*_clipped(found.kappa, found.kappa_low, found.kappa_upp), n, agreement)


def fleiss_kappa(
    readings: Sequence[Sequence[str]], patients: Sequence[str] = (), rounds: int = ROUNDS, seed: int = 0
) -> Kappa:
    """Fleiss' kappa of several readers who all read the same cases.

    Fleiss 1971 (Psychol Bull 76:378). The interval is the 2.5 to 97.5 percentile when patients, with all
    their cases, are drawn with replacement.

    Parameters
    ----------
    readings : (n cases, m readers) of str
        Labels; the order of readers within a case does not matter.
    patients : sequence of str, optional
        Patient of each case; default: every case is a patient of its own.
    """
    if not len(readings) or len(readings[0]) < 2:
        return Kappa(None, None, None, len(readings), None)
    classes = sorted({label for case in readings for label in case})
    counts = np.array([[case.count(label) for label in classes] for case in map(list, readings)], float)
    m = counts.sum(axis=1)
    agreement = float((((counts**2).sum(axis=1) - m) / (m * (m - 1))).mean())
    value = _fleiss(counts)
    if value is None:
        return Kappa(None, None, None, len(counts), agreement)
    groups = _rows_by_group(patients or [str(i) for i in range(len(counts))])
    random = np.random.default_rng(seed)
    drawn = [
        _fleiss(counts[np.concatenate([groups[g] for g in random.integers(len(groups), size=len(groups))])])
        for _ in range(rounds)
    ]
    known = [kappa for kappa in drawn if kappa is not None]
    low, high = np.percentile(known, [2.5, 97.5]) if known else (math.nan, math.nan)
    return Kappa(*_clipped(value, low, high), len(counts), agreement)


def _fleiss(counts: NDArray[np.float64]) -> float | None:
    from statsmodels.stats.inter_rater import fleiss_kappa as fleiss_of

    used = counts[:, counts.any(axis=0)]
    return float(fleiss_of(used)) if used.shape[1] > 1 else None


def _rows_by_group(groups: Sequence[str]) -> list[NDArray[np.int64]]:
    names = np.array(groups)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(groups)]


def _clipped(value: float, low: float, high: float) -> tuple[float | None, float | None, float | None]:
    """Finite numbers or None; a kappa and its limits are never above 1."""
    numbers = (float(value), max(float(low), -1.0), min(float(high), 1.0))
    return tuple(number if math.isfinite(number) else None for number in numbers)  # type: ignore[return-value]


@dataclass(frozen=True)
class MaskAgreement:
    """Two masks of the same frame.

    Parameters
    ----------
    dice : float
        2 |A∩B| / (|A| + |B|).
    hausdorff, hausdorff95 : float or None
        Greatest distance, and 95th percentile, from an outline to the other, the worse of both directions,
        in pixels; None where a mask is empty.
    """

    dice: float
    hausdorff: float | None
    hausdorff95: float | None


def mask_agreement(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> MaskAgreement:
    """Dice and Hausdorff distances of two (H, W) masks; see `EMPTY_MASKS`.

    Outlines are the mask's pixels that touch the background (4-neighbours) or the edge of the frame, as in
    Taha and Hanbury 2015 (BMC Med Imaging 15:29).
    """
    if first.shape != second.shape:
        raise ValueError(f"Masks of {first.shape} and {second.shape}")
    total = int(first.sum()) + int(second.sum())
    dice = 2.0 * int((first & second).sum()) / total if total else 1.0
    if not first.any() or not second.any():
        return MaskAgreement(dice, None, None)
    from scipy.ndimage import binary_erosion, distance_transform_edt

    outlines = [mask & ~binary_erosion(mask) for mask in (first, second)]
    there = distance_transform_edt(~outlines[1])[outlines[0]]
    back = distance_transform_edt(~outlines[0])[outlines[1]]
    return MaskAgreement(
        dice,
        float(max(there.max(), back.max())),
        float(max(np.percentile(there, 95), np.percentile(back, 95))),
    )
