"""Text that was burned into the pixels: what the header says, and a look at the edges of the picture.

No program can promise that a picture holds no text, so the answer is never "clean": it is a warning with its
reason, or the advice to look.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from napari_clipmed.study import View

OFTEN_LABELLED = frozenset({"SC", "OT", "US", "ES", "RF", "XC"})
"""Kinds of pictures that are often screenshots, digitised films or labelled frames."""

LEAST_HEIGHT, GREATEST_SHARE = 5, 1 / 12
BRIGHT, DARK = 0.8, 0.05
"""Shares of the grey range beyond which a pixel may be ink; the rim of smoothed letters is greyer."""

LETTERS = 4
"""A row of at least so many marks of one height is taken for writing."""


def warnings_for(burned_in: str, modality: str, image_type: tuple[str, ...], view: View | None) -> list[str]:
    """Sentences about writing in the picture.

    Parameters
    ----------
    burned_in : str
        Burned In Annotation (0028,0301) as the file has it.
    modality, image_type
        Of the file.
    view : View or None
        The decoded picture; None where it cannot be shown.
    """
    found = []
    if burned_in.upper() == "YES":
        found.append("The file says that text is burned into its pixels, possibly the patient's name.")
    elif burned_in.upper() != "NO":
        found.append("The file does not say whether text is burned into its pixels.")
    if modality in OFTEN_LABELLED or "SECONDARY" in image_type:
        found.append("Secondary captures and their like often carry the patient's name in the picture.")
    if view is None:
        found.append("The picture could not be looked at.")
    elif looks_written_on(view):
        found.append("Something like a line of text stands near the edge of the picture.")
    return found


def looks_written_on(view: View) -> bool:
    """Whether a row of letter-sized marks, white or black, stands near an edge in the first and last frame.

    Finds text that a machine burned in; misses handwriting, grey letters and text over the anatomy.
    """
    frames = view.native if view.native is not None else view.pixels
    first = np.asarray(frames[0])
    last = np.asarray(frames[len(frames) - 1])
    low, high = float(first.min()), float(first.max())
    bright, dark = low + BRIGHT * (high - low), low + DARK * (high - low)
    return _has_line((first >= bright) & (last >= bright)) or _has_line((first <= dark) & (last <= dark))


def _has_line(marks: NDArray[np.bool_]) -> bool:
    """Whether the outer fifth of a picture holds a row of letter-sized marks."""
    height, width = marks.shape
    rim = marks.copy()
    rim[height // 5 : height - height // 5, width // 5 : width - width // 5] = False
    labelled, _ = label(rim, np.ones((3, 3)))
    letters = []
    for number, (rows, columns) in enumerate(find_objects(labelled), start=1):
        tall, wide = rows.stop - rows.start, columns.stop - columns.start
        if not LEAST_HEIGHT <= tall <= height * GREATEST_SHARE or wide > 1.5 * tall:
            continue
        filled = (labelled[rows, columns] == number).mean()
        if 0.15 <= filled <= 0.9:
            letters.append((rows.stop, tall, columns.start, columns.stop))
    return any(_in_line(letters, letter) >= LETTERS for letter in letters)


def _in_line(letters: list[tuple[int, int, int, int]], one: tuple[int, int, int, int]) -> int:
    """How many letters follow one another on the line of this one, without a wide gap."""
    base, tall, _, end = one
    mates = sorted(
        (left, right)
        for bottom, height, left, right in letters
        if abs(bottom - base) <= tall / 4 and 0.6 <= height / tall <= 1.6 and left >= one[2]
    )
    count = 0
    for left, right in mates:
        if count and left - end > 2 * tall:
            break
        count, end = count + 1, right
    return count
