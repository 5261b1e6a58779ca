"""Films of the comparison: QaTa-COV19, or simulated ones whose decorations mislead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_clipmed.phantoms.cxr import FilmRecipe
from napari_clipmed.phantoms.cxr.film import draw_film
from napari_clipmed.phantoms.cxr.qata_layout import write_pictures, write_table
from napari_clipmed.progress import Progress
from napari_clipmed.training.qata_data import QaTaItem, load_split, read_patients, without_patients

CONFOUNDED = 0.9
"""How often the portable look goes with infection in simulated training films."""


@dataclass(frozen=True)
class Films:
    """What is learned from, what chooses the epoch, and the tests by their name.

    Parameters
    ----------
    train, selection : list of QaTaItem
        No patient in both, nor in a test.
    tests : dict of str to list of QaTaItem
    origin : str
        Where they come from, in words.
    """

    train: list[QaTaItem]
    selection: list[QaTaItem]
    tests: dict[str, list[QaTaItem]]
    origin: str


def films_of_qata(data: Path, patients: Path | None, most: int | None) -> Films:
    """Train without the patients of Val, every twentieth patient of it to choose the epoch, Val as the test.

    Parameters
    ----------
    most : int, optional
        Take so many films of each split only, the first ones.

    Raises
    ------
    UnreadableFileError
        When the folder is no QaTa-COV19.
    """
    table = read_patients(patients) if patients is not None else None
    validation = load_split(data, "Val", table)
    train = without_patients(load_split(data, "Train", table), validation)
    people = sorted({item.patient for item in train})
    aside = set(people[::20])
    selection = [item for item in train if item.patient in aside]
    kept = [item for item in train if item.patient not in aside]
    first = slice(most)
    return Films(kept[first], selection[first], {"QaTa Val": validation[first]}, "QaTa-COV19")


def films_of_phantoms(out: Path, n: int, seed: int, size: int, progress: Progress) -> Films:
    """Simulate `n` training films and a quarter as many of each other set; existing whole sets are used.

    In training and in the first test 90 % of the infected films are portable ones with lines, and so few of
    the healthy; in the second test it is the other way round. Who reads the decoration is found out.
    """
    few = max(8, n // 4)
    sets = {
        "Train": (n, CONFOUNDED),
        "Val": (few, CONFOUNDED),
        "Test": (few, CONFOUNDED),
        "Reversed": (few, -CONFOUNDED),
    }
    found = {}
    for number, (name, (count, confounding)) in enumerate(sets.items()):
        folder = out / f"films-{seed}-{n}-{size}" / name
        if not (folder / "prompt" / "test.csv").is_file():
            recipe = FilmRecipe(size=size, confounding=confounding)
            _write(folder, count, [seed, number], recipe, progress)
        found[name] = load_split(folder, "Test")
    tests = {"simulated": found["Test"], "simulated, decorations reversed": found["Reversed"]}
    origin = f"simulated films (seed {seed}, decorations follow infection in {CONFOUNDED:.0%} of training)"
    return Films(found["Train"], found["Val"], tests, origin)


def _write(folder: Path, n: int, seed: list[int], recipe: FilmRecipe, progress: Progress) -> None:
    """Films as files in the layout of QaTa-COV19."""
    sentences = []
    for k in range(n):
        progress.step("simulating films", k, n)
        film = draw_film(np.random.SeedSequence([*seed, k]), recipe)
        name = f"cxr_s{seed[1]}{k:06d}"
        write_pictures(film, folder, "Test", name)
        sentences.append((name, film.prompt))
    write_table(folder, "Test", sentences)
