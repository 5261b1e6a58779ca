"""Splits in which no patient is on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def split_by_patient(
    patients: Sequence[str], labels: Sequence[str], share: float, seed: int = 0
) -> NDArray[np.bool_]:
    """Set about `share` of the patients aside, each class in proportion.

    Parameters
    ----------
    patients, labels : sequence of str
        Of each study, same length.
    share : float
        Share of the patients to set aside, in (0, 1); at least one where there are two patients or more.
    seed : int

    Returns
    -------
    (n,) bool array
        True for the studies that are set aside.
    """
    rng = np.random.default_rng(seed)
    owners = np.asarray(patients)
    rarest_first = sorted(set(labels), key=lambda label: (sum(x == label for x in labels), label))
    aside: set[str] = set()
    placed: set[str] = set()
    for label in rarest_first:
        group = sorted({p for p, x in zip(patients, labels, strict=True) if x == label} - placed)
        placed |= set(group)
        aside |= set(rng.permutation(group)[: round(share * len(group))].tolist())
    everyone = sorted(set(patients))
    if not aside and len(everyone) > 1:
        aside = {str(rng.choice(everyone))}
    return np.isin(owners, sorted(aside))
