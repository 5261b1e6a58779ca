"""Cases of the base model's own kind, trained on beside the corrections so that it does not forget them.

A folder of simulated studies (as ``napari-clipmed phantom`` writes) or, for masks, of QaTa-COV19. One case
in three is kept apart by its place in the folder and never trained on: it tells how much was forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.training.finetune_data import MaskItem, StudyItem
from napari_clipmed.training.qata_data import load_split
from napari_clipmed.training.segmentation_batches import read_grey
from napari_clipmed.training.snapshots import read_frame, read_run, read_target

MOST = 400
"""Cases of a folder that are used at most."""

KEPT_APART = 3
"""One case in so many is never trained on."""


@dataclass(frozen=True)
class ReplayCase:
    """One case: its patient, what it shows (class, or sentence of the mask) and its files."""

    patient: str
    label: str
    file: Path
    mask: Path | None = None


@dataclass(frozen=True)
class Replay:
    """The cases of a folder, divided.

    Parameters
    ----------
    training, apart : tuple of ReplayCase
        To train on, and to judge forgetting on.
    name : str
        Name of the folder, for the card.
    fingerprint : str
        Of the cases and their division.
    folder : str
        Its path, to find it again when a round goes on.
    """

    training: tuple[ReplayCase, ...] = ()
    apart: tuple[ReplayCase, ...] = ()
    name: str = ""
    fingerprint: str = ""
    folder: str = ""

    def __bool__(self) -> bool:
        return bool(self.training)


def load_replay(folder: Path, task: str, labels: Sequence[str] = ()) -> Replay:
    """Look through a folder.

    Parameters
    ----------
    folder : Path
        With ``studies.jsonl``, or (masks) a training split of QaTa-COV19.
    task : "diagnosis" or "segmentation"
    labels : sequence of str
        Classes of the model; cases of other classes are left out.

    Raises
    ------
    ClipmedError
        When it holds nothing of that task.
    """
    folder = Path(folder)
    cases = load_cases(folder, task, labels)
    if not cases:
        raise ClipmedError(
            f"{folder} holds no cases for replay.",
            "Name a folder of `napari-clipmed phantom --format npz`, or go without by --replay none.",
        )
    # By a hash of the patient: the same patients are kept apart in every round.
    cases = sorted(cases, key=lambda case: (_place(case.patient), str(case.file)))[:MOST]
    apart = {p for n, p in enumerate(dict.fromkeys(c.patient for c in cases)) if n % KEPT_APART == 0}
    names = json.dumps([(case.patient, case.label, case.file.name) for case in cases])
    return Replay(
        tuple(case for case in cases if case.patient not in apart),
        tuple(case for case in cases if case.patient in apart),
        folder.name,
        sha256(names.encode()).hexdigest(),
        str(folder.resolve()),
    )


def load_cases(folder: Path, task: str, labels: Sequence[str] = ()) -> list[ReplayCase]:
    """All cases of a folder, in its order."""
    rows = folder / "studies.jsonl"
    if rows.is_file():
        return _simulated(folder, rows, task, labels)
    if task == "segmentation":
        items = load_split(folder, "Train")
        return [ReplayCase(item.patient, item.sentence, item.image, item.mask) for item in items]
    return []


def _place(patient: str) -> str:
    return sha256(f"replay:{patient}".encode()).hexdigest()


def _simulated(folder: Path, rows: Path, task: str, labels: Sequence[str]) -> list[ReplayCase]:
    cases = []
    for line in rows.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        films = "prompt" in row
        if films is not (task == "segmentation") or not str(row["file"]).endswith(".npz"):
            continue
        if films and row["label"] != "infected":
            continue  # a sentence that names nothing has no mask
        if not films and labels and row["label"] not in labels:
            continue
        label = row["prompt"] if films else row["label"]
        cases.append(ReplayCase(str(row["patient"]), str(label), folder / row["file"]))
    return cases


def read_replay_study(case: ReplayCase, keys: Sequence[str], preprocessing: Preprocessing) -> StudyItem:
    """Pictures of a simulated study."""
    views = {}
    with _archive(case.file) as arrays:
        for name in ("AP", "LA"):
            images, repeats = read_run(_bytes(arrays, name, case.file), preprocessing)
            views[name] = images[torch.from_numpy(repeats)]
    return StudyItem(views, list(keys).index(case.label))


def read_replay_mask(case: ReplayCase, network: CausalCLIPSeg, preprocessing: Preprocessing) -> MaskItem:
    """Film, tokens and target."""
    if case.mask is not None:
        film, mask = read_grey(case.file), read_grey(case.mask) > 127
    else:
        with _archive(case.file) as arrays:
            film, mask = _bytes(arrays, "image", case.file), _bytes(arrays, "mask", case.file) > 0
    target = read_target(mask, preprocessing)
    return MaskItem(read_frame(film, preprocessing), network.tokenize([case.label])[0], target)


def _archive(file: Path) -> Any:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ClipmedError(f"The replay case {file} cannot be read.", "Write the folder again.") from error


def _bytes(arrays: Any, name: str, file: Path) -> NDArray[np.uint8]:
    try:
        found = np.asarray(arrays[name])
    except (KeyError, ValueError) as error:
        raise ClipmedError(f"The replay case {file} has no {name}.", "Write the folder again.") from error
    return found.astype(np.uint8)
