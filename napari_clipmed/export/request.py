"""What of a study is wanted: which views, subtracted how."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_clipmed.errors import ClipmedError
from napari_clipmed.export.look import as_native, chosen_views
from napari_clipmed.io import resubtracted
from napari_clipmed.io.mask_settings import default_subtraction, with_landmark, with_mask, with_shift
from napari_clipmed.progress import Progress
from napari_clipmed.study import Study, View

AUTO = "auto"


@dataclass(frozen=True)
class Request:
    """Which views of a study, and how they are subtracted.

    Parameters
    ----------
    view : str
        "all", a name such as AP, or a number from 1.
    native : bool
        The run as stored.
    mask_frames : tuple of int
        Frames, from 1, averaged as the mask; those of the file where empty.
    shift : str
        "rows,columns" by which the mask is moved (down, LEFT; DICOM 0028,6114), or "auto".
    landmark : float
        Share of the native anatomy that is left, 0 to 1.
    """

    view: str = "all"
    native: bool = False
    mask_frames: tuple[int, ...] = ()
    shift: str = ""
    landmark: float = 0.0

    @property
    def resubtracts(self) -> bool:
        """Whether the subtraction of the file is overruled."""
        return bool(self.mask_frames or self.shift or self.landmark)


def requested(study: Study, request: Request, progress: Progress | None = None) -> list[tuple[str, View]]:
    """The views that are wanted, with names for their files.

    Raises
    ------
    ClipmedError
        For a view, mask or shift that does not exist, and for a run that cannot be subtracted.
    """
    if request.native and request.resubtracts:
        raise ClipmedError("A native run has no mask.", "Leave out --native, or mask, shift and landmark.")
    return [
        (name, _subtracted(view, request, progress or Progress()))
        for name, view in chosen_views(study, request.view)
    ]


def as_study(study: Study, views: list[tuple[str, View]]) -> Study:
    """The same study with only these views."""
    return replace(study, views=tuple(view for _, view in views))


def _subtracted(view: View, request: Request, progress: Progress) -> View:
    if request.native:
        return as_native(view)
    if not request.resubtracts:
        return view
    wanted = default_subtraction(view)
    if request.mask_frames:
        outside = [number for number in request.mask_frames if not 1 <= number <= view.n_frames]
        if outside:
            raise ClipmedError(
                f"There is no frame {outside[0]} for the mask.", f"The run has {view.n_frames} frames."
            )
        wanted = with_mask(wanted, request.mask_frames)
    if request.shift == AUTO:
        from napari_clipmed.io.auto_shift import auto_shift

        wanted = auto_shift(view, wanted, progress=progress)
    elif request.shift:
        wanted = with_shift(wanted, parse_shift(request.shift))
    if request.landmark:
        wanted = with_landmark(wanted, request.landmark)
    return resubtracted(view, wanted)


def parse_shift(words: str) -> tuple[float, float]:
    """Two numbers, rows and columns, as people write them.

    Raises
    ------
    ClipmedError
    """
    try:
        rows, columns = (float(part) for part in words.split(","))
    except ValueError:
        raise ClipmedError(f"{words!r} is no shift.", "Give two numbers, 0.5,-1.2, or auto.") from None
    return rows, columns


def parse_frames(words: str) -> tuple[int, ...]:
    """Frame numbers from 1 as people write them: "3", "1,2,4-6".

    Raises
    ------
    ClipmedError
    """
    numbers: list[int] = []
    try:
        for part in filter(None, words.replace(" ", "").split(",")):
            first, dash, last = part.partition("-")
            numbers += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError:
        raise ClipmedError(f"{words!r} names no frames.", "Give numbers from 1, such as 1,2,4-6.") from None
    return tuple(numbers)
