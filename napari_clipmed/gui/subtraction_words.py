"""How a subtraction is said and typed: frame lists, shifts, masks. Text only, no widgets."""

from __future__ import annotations

from collections.abc import Sequence

from napari_clipmed.errors import ClipmedError
from napari_clipmed.io.mask_settings import Shift, shift_of
from napari_clipmed.study import MaskOperation, Subtraction


def frame_list(frames: Sequence[int]) -> str:
    """Frame numbers as they are typed: "1, 3–5"."""
    parts: list[tuple[int, int]] = []
    for number in sorted(set(frames)):
        if parts and number == parts[-1][1] + 1:
            parts[-1] = (parts[-1][0], number)
        else:
            parts.append((number, number))
    return ", ".join(
        str(first) if first == last else f"{first}{', ' if last == first + 1 else '–'}{last}"
        for first, last in parts
    )


def frames_of(text: str, n_frames: int) -> tuple[int, ...]:
    """Read what was typed: numbers and ranges, "1, 3-5".

    Raises
    ------
    ClipmedError
        When it is no list of frames of the run.
    """
    numbers: list[int] = []
    for part in text.replace("–", "-").replace(";", ",").split(","):
        ends = [end.strip() for end in part.split("-")]
        if part.strip() and len(ends) <= 2 and all(end.isdigit() and len(end) < 7 for end in ends):
            first, last = int(ends[0]), int(ends[-1])
            numbers += range(first, min(last, n_frames + 1) + 1)
        elif part.strip():
            raise ClipmedError(f"“{part.strip()}” is no frame number.", "Type for example 1, 2 or 1–3.")
    wrong = [number for number in numbers if not 1 <= number <= n_frames]
    if wrong or not numbers:
        raise ClipmedError(
            f"The run has no frame {wrong[0]}." if wrong else "No mask frame is given.",
            f"Give numbers from 1 to {n_frames}.",
        )
    return tuple(sorted(set(numbers)))


def mask_line(wanted: Subtraction) -> str:
    """What is subtracted from what, in one line."""
    parts = []
    for item in wanted.items:
        match item.operation:
            case MaskOperation.AVG_SUB:
                several = len(item.mask_frames) > 1
                words = f"mean of frames {frame_list(item.mask_frames)}" if several else ""
                parts.append(words or f"frame {frame_list(item.mask_frames)}")
            case MaskOperation.TID:
                parts.append(f"the frame {item.tid_offset} before each")
            case MaskOperation.REV_TID:
                parts.append("frames walked back from the start of the range")
    return "Mask: " + ("; ".join(parts) or "none")


def shift_line(wanted: Subtraction, frame: int) -> str:
    """How far the mask of a frame is moved, in words."""
    rows, columns = shift_of(wanted, frame)
    if not rows and not columns:
        return "not moved"
    down = f"{abs(rows):.2f} px {'down' if rows > 0 else 'up'}" if rows else ""
    side = f"{abs(columns):.2f} px {'left' if columns > 0 else 'right'}" if columns else ""
    own = " (this frame)" if any(number == frame for number, *_ in wanted.frame_shifts) else ""
    return ", ".join(part for part in (down, side) if part) + own


def screen_shift(shift: Shift) -> tuple[float, float]:
    """Rows down and columns to the RIGHT, as a person sees it, of a DICOM shift; and back."""
    rows, columns = shift
    return rows, -columns if columns else 0.0
