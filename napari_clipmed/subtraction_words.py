"""The words of mask subtraction; every other room reads them from `napari_clipmed.study`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any


class MaskOperation(StrEnum):
    """Mask Operation (0028,6101): how the mask of a contrast frame is found."""

    NONE = "NONE"
    AVG_SUB = "AVG_SUB"
    TID = "TID"
    REV_TID = "REV_TID"


class Intensity(StrEnum):
    """Pixel Intensity Relationship (0028,1040): how a grey value follows the X-ray intensity."""

    LINEAR = "LIN"
    LOGARITHMIC = "LOG"
    DISPLAY = "DISP"


@dataclass(frozen=True)
class MaskItem:
    """One item of the Mask Subtraction Sequence (0028,6100; PS3.3 C.7.6.10). Frames are counted from 1.

    Parameters
    ----------
    operation : MaskOperation
        How the mask of a contrast frame is found.
    mask_frames : tuple of int
        Mask Frame Numbers (0028,6110); several are averaged. Used by AVG_SUB only.
    ranges : tuple of (int, int)
        Applicable Frame Range (0028,6102), inclusive; empty means every frame.
    averaging : int
        Contrast Frame Averaging (0028,6112): frames averaged, starting at the contrast frame.
    shift : (float, float)
        Mask Sub-pixel Shift (0028,6114), rows and columns. Positive rows move the mask down, positive
        columns move it to the LEFT, as the attribute says (C.7.6.10.1.2).
    tid_offset : int
        TID Offset (0028,6120), signed; 1 where absent.
    """

    operation: MaskOperation = MaskOperation.AVG_SUB
    mask_frames: tuple[int, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()
    averaging: int = 1
    shift: tuple[float, float] = (0.0, 0.0)
    tid_offset: int = 1

    def applies_to(self, frame: int) -> bool:
        """Whether this item subtracts contrast frame number `frame`."""
        return not self.ranges or any(first <= frame <= last for first, last in self.ranges)

    def masks_of(self, frame: int) -> tuple[int, ...]:
        """Numbers (possibly outside the run) of the frames that make the mask of `frame`."""
        first = self.ranges[0][0] if self.ranges else 1
        match self.operation:
            case MaskOperation.AVG_SUB:
                return self.mask_frames
            case MaskOperation.TID:
                return (frame - self.tid_offset,)
            case MaskOperation.REV_TID:
                return (first - self.tid_offset - (frame - first),)
            case _:
                return ()


@dataclass(frozen=True)
class Subtraction:
    """Everything that decides how a run is subtracted; plain data about a study, never written to its file.

    Parameters
    ----------
    items : tuple of MaskItem
        The first one that applies to a frame counts; a frame in none is shown unsubtracted.
    intensity : Intensity
        How the grey values follow the X-ray intensity; LIN is logged first.
    falling : bool
        Whether grey values fall where more X-rays arrive; the result is negated, so that vessels are dark.
    landmark : float
        Share (0 to 1) of the native anatomy that is shown behind the vessels.
    frame_shifts : tuple of (int, float, float)
        Frame number (from 1), rows down and columns LEFT; counts for that frame instead of its item's shift.
    """

    items: tuple[MaskItem, ...]
    intensity: Intensity = Intensity.LOGARITHMIC
    falling: bool = False
    landmark: float = 0.0
    frame_shifts: tuple[tuple[int, float, float], ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.landmark <= 1.0:
            raise ValueError(f"The landmark share must lie between 0 and 1, not at {self.landmark}")

    @property
    def active(self) -> bool:
        """Whether any item subtracts at all."""
        return any(item.operation is not MaskOperation.NONE for item in self.items)

    def shift_of(self, frame: int, item: MaskItem) -> tuple[float, float]:
        """Shift of the mask of frame number `frame` under its item."""
        own = next(((rows, columns) for number, rows, columns in self.frame_shifts if number == frame), None)
        return item.shift if own is None else own

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Subtraction:
        """Read what `to_json` gave.

        Raises
        ------
        ValueError
            When it is anything else.
        """
        try:
            items = tuple(
                MaskItem(
                    operation=MaskOperation(item["operation"]),
                    mask_frames=tuple(int(frame) for frame in item["mask_frames"]),
                    ranges=tuple((int(first), int(last)) for first, last in item["ranges"]),
                    averaging=int(item["averaging"]),
                    shift=(float(item["shift"][0]), float(item["shift"][1])),
                    tid_offset=int(item["tid_offset"]),
                )
                for item in data["items"]
            )
            shifts = tuple((int(n), float(rows), float(columns)) for n, rows, columns in data["frame_shifts"])
            intensity, falling = Intensity(data["intensity"]), bool(data["falling"])
            return cls(items, intensity, falling, float(data["landmark"]), shifts)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError("These are not the settings of a subtraction") from error

    @property
    def digest(self) -> str:
        """SHA-256 of the settings."""
        return sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()
