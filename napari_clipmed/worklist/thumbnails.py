"""Small pictures of studies: made from a few frames, kept on disk within a budget, without identity.

What is burned into the pixels stays in them, as in every picture that a workspace keeps.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_clipmed.export.look import shown
from napari_clipmed.io import StudyEntry, is_dicom
from napari_clipmed.io.arriving import ArrivingFrames, first_frames, provisional_view
from napari_clipmed.io.dicom_headers import read_dicom
from napari_clipmed.io.dicom_view import view_from
from napari_clipmed.io.run_decoder import RunDecoder, decode_runs, one_by_one
from napari_clipmed.io.study_reader import open_entry
from napari_clipmed.progress import Progress
from napari_clipmed.study import Study, View
from napari_clipmed.whole_files import whole_file

SIDE = 64
"""Pixels; enough for 48 on a screen of high resolution."""

FRAMES = 5
"""So many frames of a run are laid over one another, which shows its vessels."""

BUDGET = 64 * 2**20
DECODING = "Making thumbnails"


class Thumbnails:
    """Thumbnails on disk, named by entry or case; the ones made longest ago go first.

    Parameters
    ----------
    folder : Path
        Made when the first one is kept.
    budget : int
        Bytes, for all files together.
    """

    def __init__(self, folder: Path, budget: int = BUDGET) -> None:
        self._folder, self._budget = folder, budget
        self._written = 0

    def get(self, name: str) -> NDArray[np.uint8] | None:
        """The (SIDE, SIDE) thumbnail of that name; None where there is none that can be read."""
        try:
            content = self._path(name).read_bytes()
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                fits = picture.size == (SIDE, SIDE)
                return np.array(picture.convert("L")) if fits else None
        except (OSError, ValueError):
            return None

    def put(self, name: str, thumbnail: NDArray[np.uint8]) -> None:
        """Keep one; raises `OSError` where the disk refuses."""
        stream = io.BytesIO()
        Image.fromarray(thumbnail).save(stream, "PNG")
        with whole_file(self._path(name), replace=True) as unfinished:
            unfinished.write_bytes(stream.getvalue())
        self._written += 1
        if self._written % 100 == 1:
            self._keep_to_the_budget()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.png"

    def _keep_to_the_budget(self) -> None:
        found = sorted((s.st_mtime_ns, s.st_size, p) for p in self._folder.glob("*.png") if (s := p.stat()))
        used = sum(size for _, size, _ in found)
        for _, size, path in found:
            if used <= self._budget:
                return
            path.unlink(missing_ok=True)
            used -= size


def thumbnail_of(study: Study) -> NDArray[np.uint8]:
    """The thumbnail of a study that is open, (SIDE, SIDE)."""
    view = study.views[0]
    return _thumbnail(view, range(view.n_frames))


def peek(entry: StudyEntry, progress: Progress) -> NDArray[np.uint8]:
    """The thumbnail of an entry; of a compressed run only a few frames are decoded.

    Raises
    ------
    UnreadableFileError
        When there is no picture.
    """
    if not is_dicom(entry.paths[0]):
        return thumbnail_of(open_entry(entry, progress))
    run = RunDecoder(read_dicom(entry.paths[0]))
    decode_runs([run], ((0, frame) for frame in first_frames(run)), progress, DECODING)
    view = provisional_view(run)
    if view is None:
        decode_runs([run], one_by_one([run]), progress, DECODING)
        view = view_from(run.file, run.finished())
    pixels = view.pixels
    there = [f for f in range(view.n_frames) if not isinstance(pixels, ArrivingFrames) or pixels.has(f)]
    return _thumbnail(view, there)


def _thumbnail(view: View, frames: range | list[int]) -> NDArray[np.uint8]:
    """Dark vessels of several frames at once in a subtracted run, else the frame in the middle; squared."""
    if view.subtracted:
        places = np.linspace(0, len(frames) - 1, min(len(frames), FRAMES)).round().astype(int)
        greys = np.minimum.reduce([view.pixels[frames[int(place)]] for place in places])
    else:
        greys = view.pixels[frames[len(frames) // 2]]
    picture = Image.fromarray(shown(view, np.asarray(greys), view.window))
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    square = Image.new("L", (SIDE, SIDE))
    square.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return np.array(square)
