"""A run as numbered PNG pictures, with a list of their times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from napari_clipmed.export.look import Look, shown, whole_range, windowed
from napari_clipmed.export.stamp import RESEARCH_USE, ink_of
from napari_clipmed.progress import Progress
from napari_clipmed.study import View
from napari_clipmed.whole_files import refuse_existing, whole_file

LIST = "frames.json"


def write_pictures(
    view: View,
    folder: Path,
    look: Look | None = None,
    *,
    bits: int = 8,
    synthetic: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
    written: list[Path] | None = None,
) -> list[Path]:
    """Write every frame as ``0001.png``, …, and ``frames.json`` with times, sizes and what greys mean.

    Parameters
    ----------
    view : View
    folder : Path
        Made where absent.
    look : Look, optional
        8 bits show the view's window where none is asked for; 16 bits keep the stored grey values, or spread
        the real numbers of a subtracted run over their range.
    bits : int
        8 or 16.
    synthetic : bool
        Whether SIMULATED is burned into the pictures.
    replace : bool
        Whether pictures that are there may be replaced.
    written : list of Path, optional
        Receives every file as soon as it is there.

    Raises
    ------
    ClipmedError
        When the folder holds an export already; when the window is none.
    Cancelled
    """
    look, progress = look or Look(), progress or Progress()
    window = look.window_of(view) if look.window or bits == 8 else whole_range(view)
    refuse_existing(folder / LIST, replace)
    ink = ink_of(*view.pixels.shape[1:]) if synthetic else None
    spacing = (view.spacing.column_mm, view.spacing.row_mm)
    dots: dict[str, Any] = {}
    if view.spacing.known and min(spacing) > 0:
        dots["dpi"] = tuple(25.4 / mm for mm in spacing)
    written = [] if written is None else written
    pictures: list[Path] = []
    for index, frame in enumerate(view.pixels):
        progress.step("Writing frames", index, view.n_frames)
        deep = bits == 16
        greys = (
            windowed(frame, window, look.inverted, 16) if deep else shown(view, frame, window, look.inverted)
        )
        path = folder / f"{index + 1:04d}.png"
        with whole_file(path, replace=replace) as unfinished:
            Image.fromarray(burned(greys, ink)).save(unfinished, pnginfo=_about(synthetic), **dots)
        pictures.append(path)
        written.append(path)
    white = 2**bits - 1
    meaning = {"low": window.low, "high": window.high, "black": 0, "white": white}
    with whole_file(folder / LIST, replace=replace) as unfinished:
        unfinished.write_text(json.dumps(_list(view, pictures, meaning, look, synthetic), indent=2) + "\n")
    written.append(folder / LIST)
    return pictures


def burned(greys: NDArray[Any], ink: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Greys with white letters on black where `ink` stands; the same array where there is none."""
    if ink is None:
        return greys
    rows, columns = np.nonzero(ink)
    top, left = max(rows.min() - 2, 0), max(columns.min() - 2, 0)
    marked = greys.copy()
    marked[top : rows.max() + 3, left : columns.max() + 3] = 0
    marked[ink] = np.iinfo(greys.dtype).max
    return marked


def _about(synthetic: bool) -> PngInfo:
    about = PngInfo()
    about.add_text("Comment", f"{'SIMULATED. ' if synthetic else ''}{RESEARCH_USE}")
    return about


def _list(
    view: View, written: list[Path], meaning: dict[str, float], look: Look, synthetic: bool
) -> dict[str, Any]:
    """What a program needs to know about the pictures."""
    known = view.timing.known
    times = [round(float(time), 3) if known else None for time in view.timing.times_ms]
    return {
        "projection": view.projection.value,
        "subtracted": view.subtracted,
        "synthetic": synthetic,
        "grey_values": meaning | {"inverted": look.inverted},
        "spacing_mm": [view.spacing.row_mm, view.spacing.column_mm] if view.spacing.known else None,
        "calibration": view.spacing.calibration.value,
        "times_known": known,
        "frames": [
            {"frame_number": number, "file": path.name, "time_ms": time}
            for number, (path, time) in enumerate(zip(written, times, strict=True), start=1)
        ],
        "use": RESEARCH_USE,
    }
