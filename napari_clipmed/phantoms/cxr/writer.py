"""Write simulated chest films to a folder that trainers, readers and benchmarks share.

Layout: ``manifest.json``, ``studies.jsonl`` (a row a film) and ``studies/``, with one ``.npz`` a film, or one
folder with ``film.dcm``, ``truth.npz`` and ``truth.json`` a film; or pictures as in `qata_layout`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.cxr.film import Film, FilmRecipe, draw_film
from napari_clipmed.phantoms.cxr.qata_layout import write_pictures, write_table
from napari_clipmed.progress import Progress
from napari_clipmed.study import PatientIdentity

VERSION = 1
SAMPLE_SEED = 14
"""A bilateral case with clear areas; most simulated films are harder for a model that saw real ones only."""

Format = Literal["npz", "dicom", "qata"]


@dataclass(frozen=True)
class _Job:
    index: int
    seed: int
    out: Path
    format: Format
    recipe: FilmRecipe
    split: str | None

    @property
    def name(self) -> str:
        return f"CXR-{self.seed}-{self.index:05d}"


def split_of(patient: str) -> str:
    """Split by patient, from a hash of its name: 70 % train, 12 % validation, 18 % test."""
    share = int(sha256(f"split:{patient}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return "train" if share < 0.70 else "val" if share < 0.82 else "test"


def write_cxr_phantoms(
    n: int,
    seed: int,
    out: Path,
    format: Format = "npz",  # noqa: A002 - the word of the command line
    progress: Progress | None = None,
    workers: int = 1,
    recipe: FilmRecipe | None = None,
    split: str | None = None,
) -> Path:
    """Write `n` films; every film is of another simulated patient.

    Parameters
    ----------
    n, seed : int
        Number of films, and the seed from which all of them follow.
    out : Path
        Folder, created; rows are appended to ``studies.jsonl`` as films are finished.
    format : {"npz", "dicom", "qata"}
        Arrays for training, DX files with their truth beside them, or pictures in the layout of QaTa-COV19.
    progress : Progress, optional
    workers : int
        Processes.
    recipe : FilmRecipe, optional
    split : {"train", "val", "test"}, optional
        Of all films; otherwise `split_of` their patients.

    Returns
    -------
    Path
        The folder.
    """
    progress = progress or Progress()
    recipe = recipe or FilmRecipe()
    (out if format == "qata" else out / "studies").mkdir(parents=True, exist_ok=True)
    manifest = {"kind": "cxr", "version": VERSION, "seed": seed, "n": n, "format": format, "synthetic": True}
    (out / "manifest.json").write_text(json.dumps({**manifest, "recipe": asdict(recipe)}, indent=2))
    jobs = [_Job(index, seed, out, format, recipe, split) for index in range(n)]
    sentences: dict[str, list[tuple[str, str]]] = {}
    with (out / "studies.jsonl").open("w") as rows:
        for done, row in enumerate(_each(jobs, workers), start=1):
            rows.write(json.dumps(row) + "\n")
            rows.flush()
            sentences.setdefault(row["split"], []).append((row["id"], row["prompt"]))
            progress.step("Simulating chest films", done, n)
    if format == "qata":
        for name, said in sentences.items():
            write_table(out, name, said)
    return out


def _each(jobs: list[_Job], workers: int) -> Iterator[dict[str, Any]]:
    if workers <= 1:
        yield from map(_write_one, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_write_one, jobs, chunksize=4)


def _write_one(job: _Job) -> dict[str, Any]:
    film = draw_film(np.random.SeedSequence([job.seed, job.index]), job.recipe)
    split = job.split or split_of(job.name)
    if job.format == "qata":
        file = write_pictures(film, job.out, split, job.name)
    elif job.format == "npz":
        file = _write_npz(film, job.out / "studies", job.name)
    else:
        file = _write_dicom(film, job.out / "studies", job.name, job.seed)
    return {
        "id": job.name,
        "patient": job.name,
        "split": split,
        "label": "infected" if film.all_areas.any() else "clear",
        "prompt": film.prompt,
        "paraphrase": film.paraphrase,
        **film.truth,
        "file": str(file.relative_to(job.out)),
        "seed": job.seed,
        "synthetic": True,
    }


def _arrays(film: Film) -> dict[str, NDArray[Any]]:
    return {
        "mask": film.mask.astype(np.uint8),
        "all_areas": film.all_areas,
        "lungs": film.lungs.left.astype(np.uint8) + 2 * film.lungs.right.astype(np.uint8),
    }


def _write_npz(film: Film, folder: Path, name: str) -> Path:
    path = folder / f"{name}.npz"
    arrays: dict[str, Any] = {"image": (film.image >> 4).astype(np.uint8), **_arrays(film)}
    np.savez_compressed(path, **arrays)
    return path


def _write_dicom(film: Film, folder: Path, name: str, seed: int) -> Path:
    from napari_clipmed.io.dicom_write import Uids, write_dx

    case = folder / name
    case.mkdir(parents=True, exist_ok=True)
    write_dx(
        case / "film.dcm",
        film.image,
        uids=Uids.seeded(seed, name, "film"),
        patient=PatientIdentity(name=f"PHANTOM^{name}", patient_id=name),
        view_position="AP" if film.truth["portable"] else "PA",
        spacing_mm=(350 / film.image.shape[0], 350 / film.image.shape[1]),
        bits_stored=12,
        synthetic=True,
        description="SIMULATED chest film",
    )
    truth: dict[str, Any] = dict(_arrays(film))
    np.savez_compressed(case / "truth.npz", **truth)
    words = {"prompt": film.prompt, "paraphrase": film.paraphrase, "synthetic": True, **film.truth}
    (case / "truth.json").write_text(json.dumps(words, indent=2))
    return case


def sample_film(out: Path, size: int = 512, seed: int = SAMPLE_SEED) -> Path:
    """Write the sample chest film, a typical bilateral pneumonia, as DX with its truth; return its folder."""
    recipe = FilmRecipe(size=size, n_areas=2, subset_prompts=0.0)
    return _write_dicom(draw_film(seed, recipe), out, f"sample-cxr-{seed}", seed)
