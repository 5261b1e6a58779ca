"""A run as an MP4 film that plays at the time at which it was taken.

Written with OpenCV (Apache-2.0), which grad-cam brings along anyway. A film has one frame rate; where the
times of a run are uneven, frames are repeated on a fine grid of time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_clipmed.errors import ClipmedError
from napari_clipmed.export.look import Look, shown
from napari_clipmed.export.stamp import RESEARCH_USE, SIMULATED, font_of
from napari_clipmed.progress import Progress
from napari_clipmed.study import FrameTiming, View
from napari_clipmed.whole_files import whole_file

UNKNOWN_RATE = 4.0
"""Frames a second of a run whose times are not known; the film says so."""

FINEST_MS = 20
"""Uneven times are kept to within half of this: 50 pictures a second, which every player shows."""

EVEN_WITHIN_MS = 0.5
MOST_PICTURES = 30_000


class Codec(StrEnum):
    """How the film is compressed."""

    MPEG4 = "mpeg4"
    VP9 = "vp9"

    @property
    def fourcc(self) -> str:
        """As containers call it."""
        return "mp4v" if self is Codec.MPEG4 else "vp09"


@dataclass(frozen=True, eq=False)
class Schedule:
    """How often each frame is written, at how many pictures a second.

    Parameters
    ----------
    rate : float
        Pictures a second.
    repeats : (T,) int array
        At least 1 each.
    """

    rate: float
    repeats: NDArray[np.int64]

    @property
    def seconds(self) -> float:
        """Length of the film."""
        return float(self.repeats.sum() / self.rate)


def schedule_of(timing: FrameTiming) -> Schedule:
    """When to show what; the last frame stands for one usual interval.

    Parameters
    ----------
    timing : FrameTiming
        Where the times are not known, `UNKNOWN_RATE` stands in.
    """
    count = len(timing.times_ms)
    once = np.ones(count, np.int64)
    steps = np.diff(timing.times_ms)
    if count == 1 or not timing.known or not steps.any():
        return Schedule(UNKNOWN_RATE, once)
    usual = float(np.median(steps[steps > 0]))
    if np.abs(steps - steps.mean()).max() <= EVEN_WITHIN_MS:
        return Schedule(1000 / float(steps.mean()), once)
    whole = np.rint(steps).astype(int)
    common = gcd(*(int(step) for step in whole if step))
    tick = float(common) if common >= FINEST_MS and np.abs(steps - whole).max() < 0.1 else float(FINEST_MS)
    tick = max(tick, timing.length_ms / MOST_PICTURES)
    onsets = np.rint(np.append(timing.times_ms, timing.times_ms[-1] + usual) / tick).astype(np.int64)
    return Schedule(1000 / tick, np.maximum(np.diff(onsets), 1))


def write_film(
    view: View,
    path: Path,
    look: Look | None = None,
    *,
    name: str = "",
    synthetic: bool = False,
    codec: Codec = Codec.MPEG4,
    replace: bool = False,
    progress: Progress | None = None,
) -> Schedule:
    """Write a film; below the picture stand view, frame, time, and that it is for research only.

    Returns
    -------
    Schedule
        What was written.

    Raises
    ------
    ClipmedError
        When the file exists, the window is none, or this OpenCV cannot write the codec.
    Cancelled
    """
    import cv2

    look, progress = look or Look(), progress or Progress()
    schedule = schedule_of(view.timing)
    window = look.window_of(view)
    with whole_file(path, replace=replace) as unfinished:
        film: cv2.VideoWriter | None = None
        try:
            for index, frame in enumerate(view.pixels):
                progress.step("Writing the film", index, view.n_frames)
                greys = shown(view, frame, window, look.inverted)
                picture = _picture(greys, _words(view, index, name), synthetic)
                if film is None:
                    size = (picture.shape[1], picture.shape[0])
                    code = cv2.VideoWriter.fourcc(*codec.fourcc)
                    film = cv2.VideoWriter(str(unfinished), cv2.CAP_FFMPEG, code, schedule.rate, size)
                    if not film.isOpened():
                        raise ClipmedError(
                            f"This OpenCV cannot write {codec.value} films.", "Try the other --codec."
                        )
                for _ in range(int(schedule.repeats[index])):
                    film.write(picture)
        finally:
            if film is not None:
                film.release()
    return schedule


def _words(view: View, index: int, name: str) -> str:
    """The line under a frame."""
    time = f"{view.timing.times_ms[index] / 1000:.2f} s" if view.timing.known else "time not known"
    return f"{name}  frame {index + 1} of {view.n_frames}  {time}".strip()


def _picture(greys: NDArray[np.uint8], words: str, synthetic: bool) -> NDArray[np.uint8]:
    """A frame over its lines, (H', W', 3) uint8 with even sides, which the codecs need."""
    height, width = greys.shape
    size = max(9, min(24, width // 28))
    lines = list(_wrapped([words, RESEARCH_USE, *([SIMULATED] if synthetic else [])], width, size))
    band = round(1.4 * size * len(lines)) + size // 2
    sheet = Image.new("L", (width + width % 2, height + band + (height + band) % 2))
    sheet.paste(Image.fromarray(greys), (0, 0))
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        place = (size // 2, height + size // 4 + round(1.4 * size * number))
        draw.text(place, line, fill=255 if line == SIMULATED else 200, font=font_of(size))
    return np.repeat(np.asarray(sheet)[..., None], 3, axis=-1)


def _wrapped(texts: list[str], width: int, size: int) -> Iterator[str]:
    """Texts side by side while they fit, else one a line."""
    joined = "   ".join(texts)
    if font_of(size).getlength(joined) <= width - size:
        yield joined
    else:
        yield from texts
