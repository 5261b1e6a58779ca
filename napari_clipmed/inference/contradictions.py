"""What a mask shows against what its sentence says: the sides of the picture, and the number of areas.

Judged by pixels alone, whoever made the mask. On the true masks of QaTa-COV19 the two thresholds below leave
fewer than one mask in a hundred in contradiction with its own sentence; see ``docs/segmentation.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.inference.mask_edit import pieces
from napari_clipmed.models.prompts import NUMBERS, SIDES, Convention, Finding, normalise

SPECK = 0.001
"""A piece smaller than this share of the picture is no area; true areas of QaTa-COV19 begin at 0.4 %."""

OVERHANG = 0.05
"""This share of a mask may lie beyond the middle of the picture: lungs do not end there."""


def contradictions(
    finding: Finding, mask: NDArray[np.bool_], convention: Convention = "picture"
) -> tuple[str, ...]:
    """Where a mask is not what its sentence says.

    Parameters
    ----------
    finding : Finding
        Meaning of the sentence, its sides those of the picture (as in `Prompt.finding`).
    mask : (H, W) bool array
        On the picture as displayed.
    convention : "picture" or "patient"
        Whose left the person speaks of; the answer names sides in the same way.

    Returns
    -------
    tuple of str
        Sentences for the person; none where the sentence says nothing that the mask could contradict.
    """
    if not finding:
        return ()
    finding = finding.completed()
    areas = _areas(mask)
    if not areas:
        return ("The sentence names a finding, but the mask is empty.",)
    said: list[str] = []
    named = {place.side for place in finding.places}
    shares = _shares(mask)
    marked = {side for side, share in shares.items() if share > OVERHANG}
    said += _unnamed_sides(named, marked, shares, convention)
    said += [
        f"The sentence names {_words([side], convention)}, but nothing is marked there."
        for side in SIDES
        if side in named - marked
    ]
    if not named and finding.laterality == "unilateral" and len(marked) > 1:
        said.append('The sentence says "unilateral", but both sides of the picture are marked.')
    if finding.areas is not None and areas != finding.areas:
        said.append(f"The sentence names {_count(finding.areas)}, the mask has {_count(areas)}.")
    return tuple(said)


def contradictions_of(prompt: str, convention: str, mask: NDArray[np.bool_]) -> tuple[str, ...]:
    """`contradictions` of a sentence as it was typed; none for a mask that no sentence was asked for.

    Raises
    ------
    ClipmedError
        For an unknown convention.
    """
    if not prompt.strip():
        return ()
    question = normalise(prompt, cast("Convention", convention))
    return contradictions(question.finding, mask, question.convention)


def _areas(mask: NDArray[np.bool_]) -> int:
    """Number of 8-connected pieces that are more than specks."""
    numbers, n = pieces(mask)
    return int((np.bincount(numbers.ravel(), minlength=n + 1)[1:] >= SPECK * mask.size).sum())


def _shares(mask: NDArray[np.bool_]) -> dict[str, float]:
    """Share of a mask in the left and in the right half of the picture."""
    middle, whole = mask.shape[1] / 2, max(1, int(mask.sum()))
    columns = mask.sum(axis=0)
    left = columns[: int(middle)].sum() + (columns[int(middle)] / 2 if mask.shape[1] % 2 else 0)
    return {"left": float(left) / whole, "right": 1 - float(left) / whole}


def _unnamed_sides(
    named: set[str], marked: set[str], shares: dict[str, float], convention: Convention
) -> Iterable[str]:
    """What is marked on a side that the sentence, naming the other, leaves out."""
    if not named:
        return
    for side in SIDES:
        if side not in marked - named:
            continue
        where = _words([side], convention)
        if marked == {side}:
            yield (
                f"The sentence names {_words(named, convention)}, but all of the mask lies on the other "
                f"side, on {where}. Whose left and right are meant, those of the picture or the patient's?"
            )
        else:
            yield (
                f"The sentence names {_words(named, convention)} only, but {100 * shares[side]:.0f} % of the "
                f"mask lies on {where}."
            )


def _words(sides: Iterable[str], convention: Convention) -> str:
    """Sides of the picture in the words of the person who typed."""
    other = dict(zip(SIDES, reversed(SIDES), strict=True))
    spoken = [
        f"the {s} of the picture" if convention == "picture" else f"the patient's {other[s]}" for s in sides
    ]
    return " and ".join(spoken)


def _count(areas: int) -> str:
    number = NUMBERS[areas] if areas < len(NUMBERS) else str(areas)
    return f"{number} area{'' if areas == 1 else 's'}"
