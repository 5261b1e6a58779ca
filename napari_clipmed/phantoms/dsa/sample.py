"""One typical, calm case of each class, made on the spot: for the samples, the demo and first looks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_clipmed.errors import ClipmedError
from napari_clipmed.phantoms.dsa.anatomy import draw_anatomy
from napari_clipmed.phantoms.dsa.config import load_ambient
from napari_clipmed.phantoms.dsa.study import SimulatedStudy, simulate_study

SAMPLE_SIZE = 512


@dataclass(frozen=True)
class Typical:
    """What a class's sample shows: the seed of patient and run, severity 0…1, and the site."""

    seed: int
    severity: float | None = None
    site: str | None = None


TYPICAL = {
    "Control": Typical(6),
    "MMD": Typical(9, 0.55),
    "IA": Typical(33, 0.75, "PComA"),
    "AM": Typical(36, 0.5, "parietal"),
    "AS": Typical(46, 0.75, "M1"),
}


def simulate_sample(label: str, size: int = SAMPLE_SIZE) -> SimulatedStudy:
    """The typical case of a class, 16 frames a view, with its full truth.

    Raises
    ------
    ClipmedError
        When there is no such class.
    """
    if label not in TYPICAL:
        raise ClipmedError(
            f"There is no simulated sample of {label!r}.", f"Choose one of: {', '.join(TYPICAL)}."
        )
    case, ambient = TYPICAL[label], load_ambient("sample")
    rng = np.random.default_rng([case.seed, 0])
    anatomy = draw_anatomy(rng, ambient)
    return simulate_study(anatomy, label, case.seed, ambient, size, case.severity, case.site, full_truth=True)


def sample_study(label: str, out_dir: str | Path, size: int = SAMPLE_SIZE) -> Path:
    """Write the typical case of a class as biplane DICOM with its truth.

    Parameters
    ----------
    label : str
        Control, MMD, IA, AM or AS.
    out_dir : str or Path
        Folder in which the study's own folder is made.
    size : int
        Pixels along each side.

    Returns
    -------
    Path
        The study's folder: ``AP.dcm``, ``LA.dcm``, ``truth.json``, ``truth.npz``.
    """
    # DICOM is imported where it is written: simulating needs none of it.
    from napari_clipmed.phantoms.dsa.dicom import write_dicom

    study = simulate_sample(label, size)
    return write_dicom(study, Path(out_dir), f"sample-dsa-{label}", TYPICAL[label].seed)
