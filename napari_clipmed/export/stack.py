"""A run as one OME-TIFF: axes TYX, the time of every frame, the size of a pixel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_clipmed.export.look import Look, shown
from napari_clipmed.export.pictures import burned
from napari_clipmed.export.stamp import RESEARCH_USE, ink_of
from napari_clipmed.progress import Progress
from napari_clipmed.study import View
from napari_clipmed.whole_files import whole_file


def write_stack(
    view: View,
    path: Path,
    look: Look | None = None,
    *,
    synthetic: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the values of a run, or, where a look is asked for, what is seen in 8 bits.

    Values are uint8 or uint16 as stored, or the float32 differences of a subtracted run. A stack of values is
    for measuring, so SIMULATED stands in its description; a windowed one carries it in the pixels, too.

    Raises
    ------
    ClipmedError
        When the file exists; when the window is none.
    Cancelled
    """
    look, progress = look or Look(), progress or Progress()
    dtype = np.dtype(np.uint8) if look.asked else view.pixels.dtype

    def frames() -> Iterator[NDArray[Any]]:
        window = look.window_of(view)
        ink = ink_of(*view.pixels.shape[1:]) if synthetic else None
        for index, frame in enumerate(view.pixels):
            progress.step("Writing frames", index, view.n_frames)
            yield (
                burned(shown(view, frame, window, look.inverted), ink) if look.asked else frame.astype(dtype)
            )

    with whole_file(path, replace=replace) as unfinished:
        tifffile.imwrite(
            unfinished,
            frames(),
            shape=view.pixels.shape,
            dtype=dtype,
            ome=True,
            photometric="minisblack",
            metadata=_about(view, synthetic),
        )
    return path


def _about(view: View, synthetic: bool) -> dict[str, Any]:
    """OME metadata: no name, no date, no identifier of the source."""
    words = [
        *(["SIMULATED"] if synthetic else []),
        "subtracted" if view.subtracted else "native",
        RESEARCH_USE,
    ]
    about: dict[str, Any] = {
        "axes": "TYX",
        "Name": view.projection.value,
        "Description": ". ".join(words),
    }
    if view.spacing.known:
        about |= {
            "PhysicalSizeX": view.spacing.column_mm,
            "PhysicalSizeXUnit": "mm",
            "PhysicalSizeY": view.spacing.row_mm,
            "PhysicalSizeYUnit": "mm",
        }
        about["Description"] += f". Millimetres: {view.spacing.calibration.value}"
    if view.timing.known and view.n_frames > 1:
        about |= {
            "TimeIncrement": view.timing.interval_ms / 1000,
            "TimeIncrementUnit": "s",
            "Plane": {
                "DeltaT": [round(float(time) / 1000, 6) for time in view.timing.times_ms],
                "DeltaTUnit": ["s"] * view.n_frames,
            },
        }
    return about
