"""The frames of a case inside a bundle, without identity, and the study that they make again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.records import files
from napari_clipmed.records.archive import ArchiveReader
from napari_clipmed.records.bundle_content import BundledCase, read_content
from napari_clipmed.study import (
    Calibration,
    DisplayWindow,
    FrameTiming,
    Kind,
    PixelSpacing,
    Projection,
    Source,
    Study,
    Subtraction,
    View,
)

PIXELS = re.compile(r"pixels/(\d{1,3})\.npz")
LARGEST_PIXELS = 4 << 30


def pack_view(view: View) -> bytes:
    """Stored frames of a view with times, sizes, window and subtraction; nothing of who or where."""
    windows = view.native_windows if view.native is not None else (view.window,)
    window = windows[0] if windows else view.window
    wanted = view.subtraction or view.file_subtraction
    arrays: dict[str, NDArray[Any]] = {
        "frames": np.asarray(view.stored),
        "times_ms": view.timing.times_ms,
        "timing": np.array([view.timing.source, str(view.timing.known)]),
        "spacing_mm": np.array([view.spacing.row_mm, view.spacing.column_mm]),
        "calibration": np.array([view.spacing.calibration.value]),
        "window": np.array([window.low, window.high]),
        "angles": np.array(view.angles if view.angles is not None else (), float),
        "subtracted": np.array([view.subtracted and view.native is None]),
        "subtraction": np.array([_text(wanted)]),
    }
    return files.encode_arrays(arrays)


def study_of_bundle(path: Path) -> Study | None:
    """The study whose frames a bundle brings, unsubtracted; None for a bundle without pixels.

    Raises
    ------
    WorkspaceError
        When the bundle is damaged, or its frames are not those of its case.
    """
    with ArchiveReader.open(Path(path).expanduser()) as archive:
        content = read_content(archive)
        if not any(PIXELS.fullmatch(name) for name in archive.members):
            return None
        try:
            views = tuple(_view(archive, content, index) for index in range(len(content.views)))
            study = Study(
                views, Kind(content.kind), synthetic=content.synthetic, title=f"Case {content.id[:8]}"
            )
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise archive.damaged(f"its frames cannot be read ({error})") from error
        if study.image_hash != content.image_hash:
            raise archive.damaged("its frames are not those of its case")
        return study


def _view(archive: ArchiveReader, content: BundledCase, index: int) -> View:
    known = content.views[index]
    stored = files.decode_arrays(archive.read(f"pixels/{index}.npz", LARGEST_PIXELS), LARGEST_PIXELS)
    frames = stored["frames"]
    if frames.shape != (known.n_frames, known.rows, known.columns):
        raise ValueError(f"frames of {frames.shape}")
    row_mm, column_mm = map(float, stored["spacing_mm"])
    source, is_known = map(str, stored["timing"])
    low, high = map(float, stored["window"])
    text = str(stored["subtraction"][0])
    return View(
        Projection(known.projection),
        frames,
        FrameTiming(stored["times_ms"].astype(np.float64), source, is_known == "True"),
        PixelSpacing(row_mm, column_mm, Calibration(str(stored["calibration"][0]))),
        DisplayWindow(low, high),
        Source("", sop_instance_uid=known.sop_instance_uid),
        subtracted=bool(stored["subtracted"][0]),
        angles=(float(stored["angles"][0]), float(stored["angles"][1])) if len(stored["angles"]) else None,
        file_subtraction=_subtraction(text),
    )


def _text(wanted: Subtraction | None) -> str:
    import json

    return json.dumps(wanted.to_json()) if wanted is not None else ""


def _subtraction(text: str) -> Subtraction | None:
    import json

    return Subtraction.from_json(json.loads(text)) if text else None
