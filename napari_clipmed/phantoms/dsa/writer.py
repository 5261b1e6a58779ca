"""Writes a folder of simulated studies one by one, so that a reader may begin before the last is done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_clipmed.errors import ClipmedError
from napari_clipmed.phantoms.dsa.acquisition import window_to_bytes
from napari_clipmed.phantoms.dsa.anatomy import draw_anatomy
from napari_clipmed.phantoms.dsa.config import load_ambient
from napari_clipmed.phantoms.dsa.diseases import LABELS
from napari_clipmed.phantoms.dsa.shift import load_shift
from napari_clipmed.phantoms.dsa.study import SimulatedStudy, simulate_study
from napari_clipmed.phantoms.dsa.truth import truth_arrays, truth_words
from napari_clipmed.progress import Progress

Format = Literal["npz", "dicom"]
TruthDepth = Literal["lesion", "full"]
Split = Literal["train", "val", "test"]

FORMAT_VERSION = 1
TWINS = 6
"""Studies made of one training patient: other diseases, other acquisitions, the same vessels."""

SHARES: dict[Split, float] = {"train": 0.70, "val": 0.12, "test": 0.18}


@dataclass(frozen=True)
class Recipe:
    """What all studies of a folder share.

    Parameters
    ----------
    size : int
        Pixels along each side.
    preset : str
        Acquisition preset of ``phantom_dsa.yaml``.
    format : str
        ``npz`` (windowed bytes for training) or ``dicom`` (raw frames for the reader).
    truth : str
        ``lesion``, or ``full`` for vessel masks and arrival maps too, which DICOM studies always carry.
    shift : str
        Another hospital (`shift.load_shift`), npz only; empty for none.
    """

    size: int = 224
    preset: str = "training"
    format: Format = "npz"
    truth: TruthDepth = "lesion"
    shift: str = ""


@dataclass(frozen=True)
class Patient:
    """One patient: the split, the seed of the vessels, the studies to make, the number of the first."""

    name: str
    split: str
    seed: int
    labels: tuple[str, ...]
    first: int = 0


def write_dsa_phantoms(
    n: int,
    seed: int,
    out: Path,
    format: Format = "npz",  # noqa: A002 - the word of the command line
    progress: Progress | None = None,
    workers: int = 1,
    size: int = 224,
    preset: str = "training",
    truth: TruthDepth = "lesion",
    split: Split | None = None,
    shift: str = "",
) -> Path:
    """Write `n` studies with their truth.

    Patients are split 70/12/18 into train, validation and test. A training patient gives several studies;
    those of validation and test are of one patient each.

    Parameters
    ----------
    n, seed : int
        Number of studies, and the seed from which all of them follow.
    out : Path
        Folder, created; rows are appended to ``studies.jsonl`` as studies are finished.
    format, size, preset, truth, shift
        As `Recipe`; a shift brings its own preset.
    progress : Progress, optional
        Told after each patient.
    workers : int
        Processes.
    split : {"train", "val", "test"}, optional
        Put every study there, for a test set of its own; mixed if not given.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ClipmedError
        When the folder cannot be made, there is no such preset or shift, or a shift is wanted as DICOM.
    Cancelled
        When `progress` was cancelled; what is listed in ``studies.jsonl`` is whole.
    """
    progress = progress or Progress()
    if shift and format != "npz":
        raise ClipmedError("A shifted style is written as npz only.", "Leave --format as it is.")
    recipe = Recipe(size, load_shift(shift).acquisition if shift else preset, format, truth, shift)
    try:
        (out / "studies").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClipmedError(
            f"{out} cannot be written ({error.strerror}).", "Choose another folder with --out."
        ) from error
    (out / "manifest.json").write_text(
        json.dumps(_manifest(n, seed, recipe, split), indent=2), encoding="utf-8"
    )
    done = 0
    with (out / "studies.jsonl").open("w", encoding="utf-8") as lines:
        for rows in _each([(patient, recipe, out) for patient in plan_patients(n, seed, split)], workers):
            lines.writelines(json.dumps(row) + "\n" for row in rows)
            lines.flush()
            done += len(rows)
            progress.step("Simulating angiograms", done, n)
    return out


def _manifest(n: int, seed: int, recipe: Recipe, split: Split | None) -> dict[str, Any]:
    """What was asked for, and the ranges behind it."""
    return {
        "kind": "dsa",
        "version": FORMAT_VERSION,
        "synthetic": True,
        "n": n,
        "seed": seed,
        **asdict(recipe),
        "split": split or "mixed",
        "labels": list(LABELS),
        "config": load_ambient(recipe.preset).model_dump(),
        "shifted": load_shift(recipe.shift).model_dump() if recipe.shift else None,
    }


def plan_patients(n: int, seed: int, only: Split | None = None) -> list[Patient]:
    """The patients of `n` studies: splits in mixed order, or `only` one; the classes of each in balance."""
    rng = np.random.default_rng([seed, 0])
    counts = {only: n} if only else {split: round(share * n) for split, share in SHARES.items()}
    if not only:
        counts["test"] = n - counts["train"] - counts["val"]
    patients: list[Patient] = []
    for split, total in counts.items():
        bag = [str(label) for _ in range(-(-total // len(LABELS))) for label in rng.permutation(LABELS)][
            :total
        ]
        twins = TWINS if split == "train" else 1
        patients += [Patient("", split, 0, tuple(bag[k : k + twins])) for k in range(0, total, twins)]
    first, mixed = 0, []
    for number, index in enumerate(rng.permutation(len(patients))):
        name = f"P{seed:03d}-{number:05d}"
        patient = replace(patients[index], name=name, seed=seed * 1_000_003 + number, first=first)
        mixed.append(patient)
        first += len(patient.labels)
    return mixed


def _each(jobs: list[tuple[Patient, Recipe, Path]], workers: int) -> Iterator[list[dict[str, Any]]]:
    if workers <= 1:
        yield from map(_write_patient, jobs)
        return
    # Each process draws alone; more threads in each would only be in each other's way.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_write_patient, jobs)


def _write_patient(job: tuple[Patient, Recipe, Path]) -> list[dict[str, Any]]:
    """Grow one patient and write all studies; gives their rows of ``studies.jsonl``."""
    patient, recipe, out = job
    ambient = load_ambient(recipe.preset)
    rng = np.random.default_rng([patient.seed, 0])
    anatomy = draw_anatomy(rng, ambient)
    full = recipe.truth == "full" or recipe.format == "dicom"
    rows = []
    for k, label in enumerate(patient.labels):
        seed, name = patient.seed * 16 + k, f"{patient.first + k:06d}"
        severity, site = (
            load_shift(recipe.shift).presentation.draw(label, np.random.default_rng([seed, 3]))
            if recipe.shift
            else (None, None)
        )
        study = simulate_study(anatomy, label, seed, ambient, recipe.size, severity, site, full)
        file = _write_study(study, out / "studies", name, seed, recipe)
        row = {"id": name, "patient": patient.name, "split": patient.split}
        row |= truth_words(study.label, study.side, study.circulation)
        rows.append(row | {"file": str(file.relative_to(out)), "seed": seed, "synthetic": True})
    return rows


def _write_study(study: SimulatedStudy, folder: Path, name: str, seed: int, recipe: Recipe) -> Path:
    if recipe.format == "dicom":
        from napari_clipmed.phantoms.dsa.dicom import write_dicom

        return write_dicom(study, folder, name, seed)
    return write_npz(study, folder, name, seed, recipe.shift)


def write_npz(study: SimulatedStudy, folder: Path, name: str, seed: int = 0, shift: str = "") -> Path:
    """One uncompressed archive; written beside and renamed, so that no half file is ever seen."""
    arrays: dict[str, Any] = truth_arrays({key: view.truth for key, view in study.views.items()})
    rng = np.random.default_rng([seed, 4])
    for key in study.views:
        if shift:
            look = load_shift(shift).look
            frames = look.show(study.subtracted(key, look.landmark), rng)
        else:
            frames = study.subtracted(key)
        arrays[key] = window_to_bytes(frames)
        arrays[f"times_ms_{key}"] = study.acquisition.times_s * 1000
    scratch, path = folder / f".{name}.npz", folder / f"{name}.npz"
    np.savez(scratch, **arrays)
    return scratch.replace(path)
