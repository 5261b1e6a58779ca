"""What a header alone says about a run or film, without decoding a pixel; for lists of many files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io.dicom_headers import is_dicom, read_dicom
from napari_clipmed.io.dicom_values import integer, text
from napari_clipmed.io.dicom_view import kind_of
from napari_clipmed.io.enhanced import flattened
from napari_clipmed.io.geometry import angiogram_projection, film_projection
from napari_clipmed.io.quiet import quiet_pydicom
from napari_clipmed.io.timing import frame_timing, motion
from napari_clipmed.study import FrameTiming, Kind, Projection


@dataclass(frozen=True, eq=False)
class HeaderFacts:
    """A file as its header describes it, believed or not.

    Parameters
    ----------
    modality, transfer_syntax : str
    projection : Projection
    frames, rows, columns : int
        As declared; the pixels may say otherwise.
    timing : FrameTiming
        Of the declared frames.
    motion : str
        "rotational" or "stepping" where the frames are no bolus time series.
    synthetic : bool
        Whether the file says that it is simulated.
    """

    modality: str
    transfer_syntax: str
    projection: Projection
    frames: int
    rows: int
    columns: int
    timing: FrameTiming
    motion: str
    synthetic: bool


MOST_FRAMES = 100_000
"""A header that claims more frames than this is not believed: their times alone would fill memory."""


@quiet_pydicom
def header_facts(path: Path) -> HeaderFacts | None:
    """Read a header; None for plain pictures and for headers that cannot be understood."""
    if not is_dicom(path):
        return None
    try:
        file = read_dicom(path, with_pixels=False)
    except UnreadableFileError:
        return None
    dataset = flattened(file.dataset)
    frames = min(max(integer(dataset, "NumberOfFrames", 1), 1), MOST_FRAMES)
    angiogram = kind_of(file.dataset)[0] is Kind.ANGIOGRAM
    return HeaderFacts(
        modality=text(dataset, "Modality"),
        transfer_syntax=file.transfer_syntax.name,
        projection=(angiogram_projection if angiogram else film_projection)(dataset)[0],
        frames=frames,
        rows=integer(dataset, "Rows", 0),
        columns=integer(dataset, "Columns", 0),
        timing=frame_timing(file.dataset, frames)[0],
        motion=motion(dataset),
        synthetic=text(dataset, "SyntheticData").upper() == "YES",
    )
