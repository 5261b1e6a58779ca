"""Does a CausalCLIPSeg listen? Other words, slips of the keyboard, wrong sides, and one of two areas.

A film is read once and asked in many ways, so that all probes are made on the same features.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass, label
from torch import Tensor

from napari_clipmed.errors import ClipmedError, UnreadableFileError
from napari_clipmed.inference.both_ways import answer_films
from napari_clipmed.inference.device import Compute, choose_compute
from napari_clipmed.inference.preprocess import Preprocessing, prepare_film
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.prompts import SIDES, Finding, Place, parse
from napari_clipmed.models.prompts import normalise as read_prompt
from napari_clipmed.progress import Progress
from napari_clipmed.training.causal_clipseg_evaluate import WORDINGS, patient_interval
from napari_clipmed.training.qata_data import QaTaItem
from napari_clipmed.training.segmentation_batches import fit_mask, read_grey
from napari_clipmed.training.sentence_variation import mistyped, paraphrased

Mask = NDArray[np.bool_]

FREE: dict[str, Callable[[Finding, np.random.Generator], str]] = {
    "paraphrase": paraphrased,
    "typos": lambda finding, rng: mistyped(finding.sentence, rng),
}
"""Sentences as people type them. The product reads them first (`models.prompts`); ``… unread`` does not."""


@dataclass(frozen=True, eq=False)
class ProbedFilm:
    """A film whose infected areas are known side by side.

    Parameters
    ----------
    patient : str
    picture : (H, W) uint8 array
    sides : mapping of "left" and "right" to (H, W) bool array
        Areas of each side of the picture; only sides that have any.
    sentence : str
        Names all of them, in the grammar of QaTa.
    areas : mapping of str to int
        Number of areas of each side.
    """

    patient: str
    picture: NDArray[np.uint8]
    sides: Mapping[str, Mask]
    sentence: str
    areas: Mapping[str, int]

    @property
    def finding(self) -> Finding:
        """What the sentence says."""
        return parse(self.sentence)

    def naming(self, side: str) -> str:
        """The sentence that names the areas of one side only."""
        places = tuple(place for place in self.finding.places if place.side == side) or (Place(side),)
        return Finding("unilateral", self.areas[side], places).sentence


def films_of_qata(items: Sequence[QaTaItem]) -> Iterator[ProbedFilm]:
    """Films of QaTa-COV19; each component of the mask belongs to the half of the picture its centre is in."""
    for item in items:
        mask = read_grey(item.mask) > 127
        parts, n = label(mask)
        sides = dict.fromkeys(SIDES, np.zeros_like(mask))
        areas = dict.fromkeys(SIDES, 0)
        for k, (_, column) in enumerate(center_of_mass(mask, parts, range(1, n + 1)), start=1):
            side = "left" if column < mask.shape[1] / 2 else "right"
            sides[side], areas[side] = sides[side] | (parts == k), areas[side] + 1
        yield _film(item.patient, read_grey(item.image), sides, item.sentence, areas)


def films_of_phantoms(folder: Path, split: str) -> Iterator[ProbedFilm]:
    """Simulated films (`phantom cxr --format npz`) of a split whose sentence names all infected areas.

    Raises
    ------
    UnreadableFileError
        When the folder is no such folder, or a film is damaged.
    """
    try:
        lines = (folder / "studies.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        for row in rows:
            if row["split"] == split and 0 < row["n_areas"] == row["named_areas"]:
                yield _phantom(folder, row)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UnreadableFileError(
            f"{folder} holds no simulated chest films ({error}).",
            "Make some with `phantom cxr --format npz`.",
        ) from error


def _phantom(folder: Path, row: Mapping[str, Any]) -> ProbedFilm:
    with np.load(folder / row["file"], allow_pickle=False) as arrays:
        picture, numbered, lungs = arrays["image"], arrays["all_areas"], arrays["lungs"]
    sides = dict.fromkeys(SIDES, np.zeros(picture.shape, bool))
    areas = dict.fromkeys(SIDES, 0)
    for k in np.unique(numbered[numbered > 0]):
        area = numbered == k
        side = SIDES[int((lungs[area] == 2).mean() > 0.5)]
        sides[side], areas[side] = sides[side] | area, areas[side] + 1
    return _film(row["patient"], picture, sides, row["prompt"], areas)


def _film(
    patient: str,
    picture: NDArray[np.uint8],
    sides: Mapping[str, Mask],
    sentence: str,
    areas: Mapping[str, int],
) -> ProbedFilm:
    known = {side: mask for side, mask in sides.items() if mask.any()}
    return ProbedFilm(patient, picture, known, sentence, {side: areas[side] for side in known})


@dataclass(frozen=True)
class Asked:
    """One sentence on one film, and what may be compared: the area it names, and what it does not name."""

    probe: str
    sentence: str
    named: Mask
    other: Mask | None = None


def questions(film: ProbedFilm, of_another: Sequence[str] = ()) -> list[Asked]:
    """All sentences of all probes for a film; none for one without a named place.

    `of_another` are the "one side" sentences of another film, for the probe that shuffles them.
    """
    finding = film.finding
    if not finding.places or not film.sides:
        return []
    whole = np.any(list(film.sides.values()), axis=0)
    asked = [Asked(name, wording(finding), whole) for name, wording in WORDINGS.items()]
    for name, say in FREE.items():
        typed = say(finding, np.random.default_rng(crc32(film.sentence.encode())))
        asked += [Asked(name, read_prompt(typed).sentence, whole), Asked(f"{name} unread", typed, whole)]
    if len(film.sides) == 2:
        for side, other in (SIDES, SIDES[::-1]):
            asked.append(Asked("one side", film.naming(side), film.sides[side], film.sides[other]))
            if of_another:
                drawn = str(np.random.default_rng(crc32(asked[-1].sentence.encode())).choice(of_another))
                asked.append(Asked("one side, shuffled", drawn, film.sides[side], film.sides[other]))
    else:
        wrong = replace(finding.mirrored(), areas=finding.areas).sentence
        asked.append(Asked("wrong side", wrong, np.zeros_like(whole), whole))
    return asked


def probe(
    network: CausalCLIPSeg,
    films: Iterator[ProbedFilm] | Sequence[ProbedFilm],
    preprocessing: Preprocessing,
    threshold: float = 0.5,
    compute: Compute | None = None,
    rounds: int = 1000,
    most: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All probes on some films.

    Parameters
    ----------
    network : CausalCLIPSeg
    films : iterable of ProbedFilm
    preprocessing : Preprocessing
        Of the model's card.
    threshold : float
        Of the probability.
    rounds : int
        Bootstrap rounds over patients for the intervals of means.
    most : int, optional
        Stop after so many films.

    Returns
    -------
    dict
        By probe: ``n`` questions, ``dice`` on what the sentence names, with ``ci95``. ``one side`` (films
        with areas on both, the sentence names one) and ``wrong side`` (areas on one, the sentence names the
        other) also have ``leakage``, the share of the area that is *not* named which the answer covers;
        ``dice`` means nothing for ``wrong side``, which names nothing that is there. ``one side, shuffled``
        asks with the sentence of another film for what its own would have named: what is lost is what the
        text is worth. ``films`` and ``patients`` count what was read.

    Raises
    ------
    ClipmedError
        When no film has a sentence with a place.
    """
    compute, progress = compute or choose_compute(), progress or Progress()
    network = compute.place(network)
    found: dict[str, list[tuple[str, float, float]]] = {}
    people: set[str] = set()
    of_another: list[str] = []
    read = 0
    for film in films:
        if most is not None and read >= most:
            break
        asked = questions(film, of_another)
        if not asked:
            continue
        of_another = [one.sentence for one in asked if one.probe == "one side"] or of_another
        read += 1
        people.add(film.patient)
        progress.step("films", read, most or 0)
        answers = _answer(network, film, [one.sentence for one in asked], preprocessing, compute) >= threshold
        for one, answer in zip(asked, answers, strict=True):
            named = _fitted(one.named, preprocessing)
            other = None if one.other is None else _fitted(one.other, preprocessing)
            found.setdefault(one.probe, []).append(
                (film.patient, _dice(answer, named), _covered(answer, other))
            )
    if not found:
        raise ClipmedError("No film has a sentence that names a place.", "Choose another split or folder.")
    report: dict[str, Any] = {"films": read, "patients": len(people), "threshold": threshold}
    report["precision"] = compute.precision
    report["probes"] = {name: _summary(rows, rounds) for name, rows in found.items()}
    return report


def _summary(rows: Sequence[tuple[str, float, float]], rounds: int) -> dict[str, Any]:
    patients = np.array([row[0] for row in rows])
    summary: dict[str, Any] = {"n": len(rows), "ci95": {}}
    for name, values in (("dice", [row[1] for row in rows]), ("leakage", [row[2] for row in rows])):
        numbers = np.array(values)
        if not np.isnan(numbers).any():
            summary[name] = round(float(numbers.mean()), 4)
            summary["ci95"][name] = [round(v, 4) for v in patient_interval(numbers, patients, rounds)]
    return summary


def _answer(
    network: CausalCLIPSeg,
    film: ProbedFilm,
    sentences: Sequence[str],
    preprocessing: Preprocessing,
    compute: Compute,
) -> Tensor:
    """Probabilities (n, S, S) of one film for many sentences."""
    picture = prepare_film(film.picture, preprocessing)[None]
    return answer_films(network, picture, sentences, preprocessing, compute)[:, 0]


def _fitted(mask: Mask, preprocessing: Preprocessing) -> Tensor:
    return fit_mask((mask * 255).astype(np.uint8), preprocessing)


def _dice(answer: Tensor, truth: Tensor) -> float:
    total = int(answer.sum() + truth.sum())
    return 2 * int((answer & truth).sum()) / total if total else 1.0


def _covered(answer: Tensor, other: Tensor | None) -> float:
    """Share of an area that the answer covers; NaN where there is none to cover."""
    if other is None or not other.any():
        return float("nan")
    return float((answer & other).sum() / other.sum())
