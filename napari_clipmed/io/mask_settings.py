"""Choosing how a run is subtracted: other masks, other shifts, another operation; pure functions.

Nothing is computed here but the choice of a first mask; `io.subtraction.resubtracted` makes the pictures.
Frames are counted from 1, and shifts are those of DICOM (0028,6114): rows down, columns to the LEFT, of the
mask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.errors import ClipmedError
from napari_clipmed.io.subtracted_frames import to_log
from napari_clipmed.study import MaskItem, MaskOperation, Subtraction, View

Shift = tuple[float, float]

LARGEST_SHIFT = 64.0
"""Pixels beyond which a shift is a slip of the hand; larger ones are cut to this."""

LOOKED_AT = 128
"""Rows and columns (about) of the thinned frames in which a first mask is looked for."""

QUIET = 1.25
"""A frame stands still when it differs from the next by less than this times the quietest difference."""


def why_fixed(view: View) -> str:
    """Why the subtraction of a view cannot be changed, in one sentence; empty where it can.

    Parameters
    ----------
    view : View
        Read for its frames; nothing is decoded.
    """
    if view.n_frames < 2:
        return "This view has one frame only: there is no mask to subtract."
    if view.subtracted and view.native is None:
        return (
            "This run was subtracted by the scanner; its file does not hold the native frames. "
            "If that is wrong, overrule it under “How it was read”."
        )
    return ""


def default_subtraction(view: View) -> Subtraction:
    """The subtraction to begin with: the one in force, else what the file asks for, else one mask frame.

    Raises
    ------
    ClipmedError
        When the view cannot be subtracted; the sentence is that of `why_fixed`.
    """
    reason = why_fixed(view)
    if reason:
        raise ClipmedError(reason, "Open the native run, or look at this one as it is.")
    wanted = view.subtraction or view.file_subtraction
    if wanted is not None and subtracts(wanted, view.n_frames):
        return wanted
    mask = MaskItem(mask_frames=(settled_frame(view),))
    return Subtraction((mask,)) if wanted is None else replace(wanted, items=(mask,))


def subtracts(wanted: Subtraction, n_frames: int) -> bool:
    """Whether these settings subtract any frame of a run of that length."""
    return any(item_of(wanted, number, n_frames) is not None for number in range(1, n_frames + 1))


def item_of(wanted: Subtraction, frame: int, n_frames: int) -> int | None:
    """Index of the item that subtracts frame number `frame`: the first that applies and whose mask exists."""
    for index, item in enumerate(wanted.items):
        if item.applies_to(frame) and any(1 <= mask <= n_frames for mask in item.masks_of(frame)):
            return index
    return None


def same_greys(one: Subtraction | None, other: Subtraction | None) -> bool:
    """Whether two subtractions give greys of the same range: only masks or shifts differ."""
    if one is None or other is None:
        return one is other
    first, second = ({item.operation for item in how.items} for how in (one, other))
    return first == second and one.landmark == other.landmark


def settled_frame(view: View) -> int:
    """Number of the first frame, in the leading third of the run, that stands still against the next one.

    The exposure of the first frames often still rises and the patient starts at the injection; iodine moves,
    too, so the quietest leading frames are those before it arrives.
    """
    frames = view.stored
    count = max(len(frames) // 3, 2)
    rows, columns = (max(length // LOOKED_AT, 1) for length in frames.shape[1:])
    thin = [
        in_log_space(view, frames[index][::rows, ::columns]) for index in range(min(count + 1, len(frames)))
    ]
    steps = []
    for here, after in zip(thin, thin[1:], strict=False):
        change = after - here
        steps.append(float(np.percentile(np.abs(change - np.median(change)), 95)))
    return 1 + next(index for index, step in enumerate(steps) if step <= QUIET * min(steps))


def in_log_space(view: View, frames: NDArray[np.generic]) -> NDArray[np.float32]:
    """Stored frames of a view in the space of its subtraction, iodine dark.

    Parameters
    ----------
    frames : array
        Stored values of this view, of any shape.
    """
    wanted = view.subtraction or view.file_subtraction or Subtraction(())
    values = to_log(frames, wanted.intensity, view.log_table)
    return -values if wanted.falling else values


def with_mask(wanted: Subtraction, frames: Iterable[int]) -> Subtraction:
    """Average these frames as the one mask of the run (AVG_SUB); shifts and averaging stay.

    Parameters
    ----------
    frames : iterable of int
        Numbers from 1.

    Raises
    ------
    ClipmedError
        When no frame is given, or a number below 1.
    """
    numbers = tuple(sorted(set(frames)))
    if not numbers or numbers[0] < 1:
        raise ClipmedError("A mask needs at least one frame.", "Give frame numbers from 1.")
    return _as_one(wanted, operation=MaskOperation.AVG_SUB, mask_frames=numbers)


def with_operation(wanted: Subtraction, operation: MaskOperation, tid_offset: int = 1) -> Subtraction:
    """Subtract an average of masks (AVG_SUB), or from each frame the one `tid_offset` before it (TID).

    The mask frames are kept for the way back to AVG_SUB; frame 1 where there were none.

    Raises
    ------
    ClipmedError
        For TID with an offset of 0, which would subtract every frame from itself.
    """
    if operation is not MaskOperation.AVG_SUB and tid_offset == 0:
        raise ClipmedError("An offset of 0 subtracts every frame from itself.", "Give 1 or more.")
    masks = next((item.mask_frames for item in wanted.items if item.mask_frames), (1,))
    return _as_one(wanted, operation=operation, tid_offset=tid_offset, mask_frames=masks)


def shift_of(wanted: Subtraction, frame: int | None = None) -> Shift:
    """Shift of the mask of a frame (from 1); of the first item where no frame is given."""
    if frame is None:
        return wanted.items[0].shift if wanted.items else (0.0, 0.0)
    item = next((item for item in wanted.items if item.applies_to(frame)), MaskItem())
    return wanted.shift_of(frame, item)


def with_shift(wanted: Subtraction, shift: Shift, frame: int | None = None) -> Subtraction:
    """Give the mask this shift: for all frames, or for one of them only.

    Parameters
    ----------
    shift : (float, float)
        Rows down, columns to the LEFT.
    frame : int, optional
        Number from 1. Without it every item gets the shift and shifts of single frames are forgotten.
    """
    rows, columns = (round(float(np.clip(value, -LARGEST_SHIFT, LARGEST_SHIFT)), 3) for value in shift)
    if frame is None:
        items = tuple(replace(item, shift=(rows, columns)) for item in wanted.items)
        return replace(wanted, items=items, frame_shifts=())
    others = {number: (number, *rest) for number, *rest in wanted.frame_shifts if number != frame}
    others[frame] = (frame, rows, columns)
    return replace(wanted, frame_shifts=tuple(others[number] for number in sorted(others)))  # type: ignore[misc]


def shifted(wanted: Subtraction, by: Shift, frame: int | None = None) -> Subtraction:
    """Move the mask further by some rows down and columns to the LEFT.

    Without `frame` the whole run moves: every item, and every frame that has a shift of its own.
    """
    rows, columns = by
    if frame is not None:
        here = shift_of(wanted, frame)
        return with_shift(wanted, (here[0] + rows, here[1] + columns), frame)
    items = tuple(
        replace(item, shift=(round(item.shift[0] + rows, 3), round(item.shift[1] + columns, 3)))
        for item in wanted.items
    )
    own = tuple((n, round(r + rows, 3), round(c + columns, 3)) for n, r, c in wanted.frame_shifts)
    return replace(wanted, items=items, frame_shifts=own)


def with_landmark(wanted: Subtraction, share: float) -> Subtraction:
    """Show this share (0 to 1) of the native anatomy behind the vessels."""
    return replace(wanted, landmark=float(np.clip(share, 0.0, 1.0)))


def _as_one(wanted: Subtraction, **changes: object) -> Subtraction:
    """All items as one with some fields changed; it applies where any of them did."""
    first = next((i for i in wanted.items if i.operation is not MaskOperation.NONE), MaskItem())
    everywhere = any(not item.ranges for item in wanted.items)
    ranges = () if everywhere else tuple(sorted({part for item in wanted.items for part in item.ranges}))
    item = replace(first, **({"ranges": ranges} | changes))  # type: ignore[arg-type]
    return replace(wanted, items=(item,))
