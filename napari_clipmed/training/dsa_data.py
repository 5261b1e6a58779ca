"""Labelled angiograms as a folder: ``studies.jsonl`` and one ``.npz`` a study (what ``phantom dsa`` writes).

Keys of the archive, for each view ``V`` of AP and LA: ``V`` uint8 (T, H, W), dark vessels on bright ground,
windowed; optionally ``lesion_V`` (H, W), where the lesion projects, and ``visible_V`` bool (T,), in which
frames it can be seen.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from napari_clipmed.errors import ClipmedError, UnreadableFileError
from napari_clipmed.inference.preprocess import fit_frames, sample_frames
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.training.augment import WHOLE, Window, regrey, warp
from napari_clipmed.training.clip_dsa_recipe import Augmentation, Stage

VIEWS = ("AP", "LA")
NO_LESION = 0
"""Class of cells and frames without lesion: the first label of the set, the normal one."""


@dataclass(frozen=True)
class StudyRow:
    """One line of ``studies.jsonl``."""

    id: str
    patient: str
    split: str
    label: str
    file: Path
    severity: dict[str, Any] = field(default_factory=dict)
    site: str = ""
    report: str = ""

    @property
    def clarity(self) -> float:
        """First number of the severity (diameter, stenosis, stage, nidus): larger is easier to see."""
        return next((float(v) for v in self.severity.values() if isinstance(v, int | float)), 0.0)


@dataclass(frozen=True, eq=False)
class ViewArrays:
    """One view as stored."""

    frames: NDArray[np.uint8]
    lesion: NDArray[np.uint8]
    visible: NDArray[np.bool_]


def read_rows(folder: Path, split: str | None = None) -> list[StudyRow]:
    """The studies of a folder, of one split if given; a last line that is still being written is left out.

    Raises
    ------
    ClipmedError
        When there is no such folder, or a row lacks a field.
    """
    index = folder / "studies.jsonl"
    try:
        lines = index.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError as error:
        raise ClipmedError(
            f"{folder} holds no labelled angiograms: studies.jsonl cannot be read ({error.strerror}).",
            "Make some with `napari-clipmed phantom dsa --n 1000 --out DIR`.",
        ) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break
        try:
            row = json.loads(line)
            found = StudyRow(
                str(row["id"]), str(row["patient"]), str(row["split"]), str(row["label"]),
                folder / row["file"], dict(row.get("severity") or {}), str(row.get("site") or ""),
                str(row.get("report") or ""),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise ClipmedError(f"Line {number} of {index} is no study: {error!r}.") from error
        if split in (None, found.split):
            rows.append(found)
    return rows


def load_view(archive: Any, name: str) -> ViewArrays:
    """One view of an opened study archive; without truth nothing is visible."""
    frames = archive[name]
    lesion = (
        archive[f"lesion_{name}"] if f"lesion_{name}" in archive else np.zeros(frames.shape[1:], np.uint8)
    )
    visible = archive[f"visible_{name}"] if f"visible_{name}" in archive else np.zeros(len(frames), bool)
    return ViewArrays(frames, lesion, visible)


def load_study(row: StudyRow) -> dict[str, ViewArrays]:
    """Both views of a study.

    Raises
    ------
    UnreadableFileError
        When the archive is missing, damaged or lacks a view.
    """
    try:
        with np.load(row.file, allow_pickle=False) as archive:
            return {name: load_view(archive, name) for name in VIEWS}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UnreadableFileError(f"The study {row.file} cannot be read: {error}.") from error


class WholeStudies(Dataset[dict[str, Tensor]]):
    """Studies as at inference: evenly spaced frames, no random change; the ``index`` tells them apart.

    Parameters
    ----------
    rows : sequence of StudyRow
    labels : LabelSet
    size, n_frames, fit
        As `inference.preprocess.Preprocessing`.
    """

    def __init__(
        self, rows: Sequence[StudyRow], labels: LabelSet, size: int, n_frames: int, fit: Any = "longest"
    ) -> None:
        self.rows, self.labels, self.size, self.n_frames, self.fit = list(rows), labels, size, n_frames, fit

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        views = load_study(self.rows[item])
        sample = {"label": torch.tensor(self.labels.index(self.rows[item].label))}
        sample["index"] = torch.tensor(item)
        for name, view in views.items():
            frames = torch.from_numpy(view.frames[sample_frames(len(view.frames), self.n_frames)])
            sample[name] = fit_frames(frames.float() / 255.0, self.size, self.fit)
        return sample


class TrainingStudies(Dataset[dict[str, Tensor]]):
    """Studies with frames, windows and greys drawn at random, and the truth about where the lesion is.

    A sample holds, for each view: greys (t, S, S) in [0, 1]; ``lesion_V`` (t, S, S) mask, 1 where the lesion
    projects; ``visible_V`` (t,) whether it can be seen; and the ``label``.
    """

    def __init__(
        self,
        rows: Sequence[StudyRow],
        labels: LabelSet,
        size: int,
        stage: Stage,
        amounts: Augmentation,
        fit: Any = "longest",
    ) -> None:
        self.rows, self.labels, self.size, self.stage = list(rows), labels, size, stage
        self.amounts, self.fit = amounts, fit

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, (1,))))
        sample = {"label": torch.tensor(self.labels.index(self.rows[item].label))}
        for name, view in load_study(self.rows[item]).items():
            make = self._crops if self.stage.crop else self._run
            sample[name], sample[f"lesion_{name}"], sample[f"visible_{name}"] = make(view, generator)
        return sample

    def _run(self, view: ViewArrays, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Whole frames of one view, one geometric and one grey draw for all of them."""
        count = self.stage.frames
        index = (
            stratified_frames(len(view.frames), count, generator)
            if self.stage.random_frames
            else sample_frames(len(view.frames), count)
        )
        images = self._images(view, index)
        warped = warp(images, self.size, WHOLE, self.amounts, generator)
        lesion = warped[-1:].expand(count, -1, -1)
        return regrey(warped[:-1], self.amounts, generator), lesion, torch.from_numpy(view.visible[index])

    def _crops(self, view: ViewArrays, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Windows of single frames, two of three on a visible lesion where there is one."""
        index, windows = [], []
        spots, seen = np.argwhere(view.lesion), np.flatnonzero(view.visible)
        side = self.stage.crop / self.size
        for _ in range(self.stage.frames):
            on_lesion = len(spots) and len(seen) and torch.rand((), generator=generator) < 2 / 3
            jitter = torch.rand(2, generator=generator).numpy() - 0.5
            if on_lesion:
                index.append(int(seen[_draw(len(seen), generator)]))
                spot = (spots[_draw(len(spots), generator)] + 0.5) / view.lesion.shape
                centre = spot + jitter * 0.8 * side
            else:
                index.append(_draw(len(view.frames), generator))
                centre = 0.5 + jitter
            # The window stays inside the frame: repeated borders teach nothing.
            row, column = np.clip(centre, side / 2, 1 - side / 2).tolist()
            windows.append(Window(row, column, side))
        images = self._images(view, np.array(index))
        pairs = [
            warp(torch.stack([image, images[-1]]), self.stage.crop, window, self.amounts, generator)
            for image, window in zip(images[:-1], windows, strict=True)
        ]
        frames = torch.stack([regrey(pair[0], self.amounts, generator) for pair in pairs])
        return frames, torch.stack([pair[1] for pair in pairs]), torch.from_numpy(view.visible[index])

    def _images(self, view: ViewArrays, index: NDArray[np.int64]) -> Tensor:
        """Chosen frames and, last, the lesion mask, in the model's square."""
        frames = fit_frames(torch.from_numpy(view.frames[index]).float() / 255.0, self.size, self.fit)
        lesion = fit_frames(torch.from_numpy(view.lesion[None] > 0).float(), self.size, self.fit, pad=0.0)
        return torch.cat([frames, lesion])


def stratified_frames(n_available: int, count: int, generator: torch.Generator) -> NDArray[np.int64]:
    """One random frame from each of `count` equal parts of a run, ascending, shape (count,)."""
    places = (torch.arange(count) + torch.rand(count, generator=generator)) * (n_available / count)
    return places.floor().clamp(max=n_available - 1).long().numpy()


def easy_first_weights(rows: Sequence[StudyRow], strength: float) -> Tensor:
    """How often each study is drawn: from 1 (least clear of its class) to 1 + 2·strength (clearest)."""
    weights = torch.ones(len(rows), dtype=torch.float64)
    for label in {row.label for row in rows}:
        members = [i for i, row in enumerate(rows) if row.label == label]
        clarity = np.array([rows[i].clarity for i in members])
        if np.ptp(clarity) > 0:
            ranks = clarity.argsort().argsort() / (len(members) - 1)
            weights[members] = torch.from_numpy(1.0 + 2.0 * strength * ranks)
            weights[members] /= weights[members].mean()
    return weights


def _draw(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(n, (1,), generator=generator))
