"""Sample studies: simulated, one of each class and a chest film; made once, kept in the user's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.study import Study

SAMPLES = {
    "Control": "Simulated DSA: no disease",
    "MMD": "Simulated DSA: moyamoya disease",
    "IA": "Simulated DSA: intracranial aneurysm",
    "AM": "Simulated DSA: arteriovenous malformation",
    "AS": "Simulated DSA: arterial stenosis",
    "chest": "Simulated chest film",
}
"""Key (a class of the DSA label set, or "chest") and title."""


def sample_folder(key: str) -> Path:
    """Where a sample is kept once it was made; `CLIPMED_HOME` moves it."""
    from napari_clipmed.models.registry import user_folder

    return user_folder() / "samples" / key


def make_sample(key: str, progress: Progress | None = None) -> Study:
    """Read a sample study, simulating it first where it is not there yet.

    Parameters
    ----------
    key : str
        One of `SAMPLES`.
    """
    from napari_clipmed.io import open_study

    progress = progress or Progress()
    folder = sample_folder(key)
    done = folder / "complete"
    if not done.exists():
        progress.step(f"Simulating: {SAMPLES[key].split(': ')[-1]}")
        folder.mkdir(parents=True, exist_ok=True)
        done.write_text(str(_simulate(key, folder).resolve().relative_to(folder.resolve())), encoding="utf-8")
    progress.step("Reading the sample")
    return open_study(folder / done.read_text(encoding="utf-8"))


def _simulate(key: str, folder: Path) -> Path:
    if key == "chest":
        from napari_clipmed.phantoms.cxr import sample_film

        return Path(sample_film(folder))
    from napari_clipmed.phantoms import sample_study

    return Path(sample_study(key, folder))


def _layers(key: str) -> list[tuple[Any, dict[str, Any], str]]:
    from napari_clipmed.gui.readers import study_layers

    return study_layers(make_sample(key))


def dsa_control() -> list[tuple[Any, dict[str, Any], str]]:
    """Biplane run without disease, for napari's File > Open Sample."""
    return _layers("Control")


def dsa_moyamoya() -> list[tuple[Any, dict[str, Any], str]]:
    """Biplane run of moyamoya disease."""
    return _layers("MMD")


def dsa_aneurysm() -> list[tuple[Any, dict[str, Any], str]]:
    """Biplane run of an intracranial aneurysm."""
    return _layers("IA")


def dsa_malformation() -> list[tuple[Any, dict[str, Any], str]]:
    """Biplane run of an arteriovenous malformation."""
    return _layers("AM")


def dsa_stenosis() -> list[tuple[Any, dict[str, Any], str]]:
    """Biplane run of an arterial stenosis."""
    return _layers("AS")


def chest_film() -> list[tuple[Any, dict[str, Any], str]]:
    """Chest film with infected areas."""
    return _layers("chest")
