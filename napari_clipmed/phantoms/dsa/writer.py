"""Writes a folder of simulated studies, study by study, so that a reader may begin before the last is done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from napari_clipmed.phantoms.dsa.acquisition import window_to_bytes
from napari_clipmed.phantoms.dsa.anatomy import grow_anatomy
from napari_clipmed.phantoms.dsa.config import load_ambient
from napari_clipmed.phantoms.dsa.diseases import LABELS
from napari_clipmed.phantoms.dsa.study import SimulatedStudy, simulate_study
from napari_clipmed.progress import Progress

FORMAT_VERSION = 1
TWINS = 6
"""Studies made of one training patient: other diseases, other acquisitions, the same vessels."""


@dataclass(frozen=True)
class Job:
    """One patient: which studies to make of one tree."""

    patient: str
    split: str
    seed: int
    labels: tuple[str, ...]
    first: int
    size: int
    preset: str
    out: str
    file_format: str
    truth: str


def write_dsa_phantoms(
    n: int,
    seed: int,
    out: Path,
    file_format: str = "npz",
    progress: Progress | None = None,
    workers: int = 1,
    size: int = 224,
    preset: str = "training",
    truth: str = "lesion",
) -> Path:
    """Write `n` studies with their truth.

    Patients are split 70/12/18 into train, validation and test; only training patients are rendered several times.

    Parameters
    ----------
    n, seed : int
        Number of studies and the seed of all draws.
    out : Path
        Folder; made if absent.
    file_format : str
        ``"npz"`` or ``"dicom"``.
    progress : Progress, optional
        Told after each patient.
    workers : int
        Processes.
    size : int
        Detector pixels along each side.
    preset : str
        Acquisition preset of ``phantom_dsa.yaml``.
    truth : str
        ``"lesion"`` or ``"full"`` (vessel masks, arrival and time-to-peak maps).

    Returns
    -------
    Path
        The folder.
    """
    progress = progress or Progress()
    studies = out / "studies"
    studies.mkdir(parents=True, exist_ok=True)
    jobs = plan(n, seed, size, preset, str(out), file_format, truth)
    manifest = {
        "kind": "dsa",
        "version": FORMAT_VERSION,
        "synthetic": True,
        "n": n,
        "seed": seed,
        "size": size,
        "format": file_format,
        "truth": truth,
        "preset": preset,
        "labels": list(LABELS),
        "config": load_ambient(preset).model_dump(),
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    done = 0
    with (out / "studies.jsonl").open("w", encoding="utf-8") as lines:
        for rows in _run(jobs, workers):
            for row in rows:
                lines.write(json.dumps(row) + "\n")
            lines.flush()
            done += len(rows)
            progress.step("simulating", done, n)
    return out


def plan(n: int, seed: int, size: int, preset: str, out: str, file_format: str, truth: str) -> list[Job]:
    """The patients, in mixed order of splits, with the classes of their studies in balance."""
    rng = np.random.default_rng([seed, 0])
    counts = {"train": round(0.70 * n), "val": round(0.12 * n)}
    counts["test"] = n - counts["train"] - counts["val"]
    jobs: list[Job] = []
    for split, total in counts.items():
        twins = TWINS if split == "train" else 1
        bag: list[str] = []
        while total > 0:
            size_here = min(twins, total)
            while len(bag) < size_here:
                bag += list(rng.permutation(LABELS))
            labels, bag = tuple(bag[:size_here]), bag[size_here:]
            jobs.append(Job("", split, 0, labels, 0, size, preset, out, file_format, truth))
            total -= size_here
    order = rng.permutation(len(jobs))
    first, result = 0, []
    for number, index in enumerate(order):
        job = jobs[index]
        result.append(Job(f"P{seed:03d}-{number:05d}", job.split, seed * 1_000_003 + number, job.labels, first, size, preset, out, file_format, truth))
        first += len(job.labels)
    return result


def _run(jobs: list[Job], workers: int) -> Iterator[list[dict[str, Any]]]:
    if workers <= 1:
        yield from map(make_patient, jobs)
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(make_patient, jobs, chunksize=2)


def make_patient(job: Job) -> list[dict[str, Any]]:
    """Grow one patient and write all its studies; gives their rows of ``studies.jsonl``."""
    ambient = load_ambient(job.preset)
    rng = np.random.default_rng([job.seed, 0])
    anatomy = grow_anatomy(rng, int(rng.uniform(*ambient.n_leaves)))
    rows = []
    for k, label in enumerate(job.labels):
        seed = job.seed * 16 + k
        study = simulate_study(anatomy, label, seed, ambient, job.size)
        name = f"{job.first + k:06d}"
        file = write_npz(study, Path(job.out) / "studies", name)
        rows.append(
            {
                "id": name,
                "patient": job.patient,
                "split": job.split,
                "label": label,
                "side": study.side,
                "site": study.circulation.site,
                "severity": study.circulation.severity,
                "report": study.circulation.sentence,
                "file": f"studies/{file}",
                "seed": seed,
                "synthetic": True,
            }
        )
    return rows


def write_npz(study: SimulatedStudy, folder: Path, name: str) -> str:
    """One uncompressed archive; written beside and renamed, so that no half file is ever seen."""
    arrays: dict[str, Any] = {}
    for key, view in study.views.items():
        arrays[key] = window_to_bytes(study.subtracted(key))
        arrays[f"lesion_{key}"] = view.truth.lesion.astype(np.uint8)
        arrays[f"visible_{key}"] = view.truth.visible
        arrays[f"times_ms_{key}"] = study.acquisition.times_s * 1000
    scratch = folder / f".{name}.npz"
    np.savez(scratch, **arrays)
    scratch.replace(folder / f"{name}.npz")
    return f"{name}.npz"


__all__ = ["asdict", "make_patient", "plan", "write_dsa_phantoms", "write_npz"]
