"""How good a CausalCLIPSeg is on QaTa-COV19, by the pipeline that the product uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_clipmed.inference.both_ways import answer_films
from napari_clipmed.inference.device import Compute, choose_compute
from napari_clipmed.inference.preprocess import Preprocessing, prepare_film, unfit_map
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.prompts import GENERIC, Finding, parse
from napari_clipmed.models.prompts import normalise as normalise_prompt
from napari_clipmed.progress import Progress
from napari_clipmed.training.metrics_segmentation import SegmentationMetrics
from napari_clipmed.training.qata_data import QaTaItem
from napari_clipmed.training.segmentation_batches import fit_mask, read_grey

WORDINGS: dict[str, Callable[[Finding], str]] = {
    "full": lambda finding: finding.sentence,
    "no-number": lambda finding: replace(finding, areas=None).sentence,
    "places-only": lambda finding: " and ".join(map(str, finding.places)) + ".",
    "sides-only": lambda finding: " and ".join(f"{place.side} lung" for place in finding.places) + ".",
    "generic": lambda finding: GENERIC,
    "mirrored": lambda finding: finding.mirrored().sentence,
}
"""What is left of a data set's sentence; ``mirrored`` names the wrong sides, to see whether it matters."""


@dataclass(frozen=True)
class EvaluationPlan:
    """What to measure.

    Parameters
    ----------
    wording : str
        A key of `WORDINGS`.
    native : bool
        Also at the size of the files.
    threshold : float
        Of the probability.
    batch : int
        Radiographs at a time.
    rounds : int
        Bootstrap rounds over patients, for the 95 % interval.
    """

    wording: str = "full"
    native: bool = False
    threshold: float = 0.5
    batch: int = 16
    rounds: int = 1000


def evaluate(
    network: CausalCLIPSeg,
    items: Sequence[QaTaItem],
    preprocessing: Preprocessing,
    plan: EvaluationPlan | None = None,
    training_patients: frozenset[str] = frozenset(),
    compute: Compute | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Dice and mean IoU, averaged over images and pooled over pixels.

    Parameters
    ----------
    network : CausalCLIPSeg
        In eval mode.
    items : sequence of QaTaItem
    preprocessing : Preprocessing
        Of the model's card.
    training_patients : set of str
        Patients that the training split holds; the rest is reported for itself too.
    compute : Compute, optional
        Device and precision; default: as the engine chooses them.

    Returns
    -------
    dict
        Ready for JSON.
    """
    plan, progress = plan or EvaluationPlan(), progress or Progress()
    compute = compute or choose_compute()
    network = compute.place(network)
    square, native = SegmentationMetrics(plan.threshold), SegmentationMetrics(plan.threshold)
    for start in range(0, len(items), plan.batch):
        progress.step("radiographs", start, len(items))
        chunk = items[start : start + plan.batch]
        masks = [read_grey(item.mask) for item in chunk]
        probability = answer(network, chunk, preprocessing, compute, plan.wording)
        square.update(probability, torch.stack([fit_mask(mask, preprocessing) for mask in masks])[:, None])
        for mask, found in zip(masks, probability, strict=True) if plan.native else ():
            back = unfit_map(found[0], mask.shape[0], mask.shape[1], preprocessing.size, preprocessing.fit)
            native.update(back[None], torch.from_numpy(mask > 127)[None])
    patients = np.array([item.patient for item in items])
    report: dict[str, Any] = {"wording": plan.wording, "size": preprocessing.size}
    report["precision"] = compute.precision
    report |= square.compute().as_dict()
    report["patients"] = len(set(patients))
    dice = square.per_image_dice().numpy()
    report["ci95"] = {"dice_mean": patient_interval(dice, patients, plan.rounds)}
    if plan.native:
        report["native"] = native.compute().as_dict()
    if training_patients:
        unseen = np.array([patient not in training_patients for patient in patients])
        report["unseen_patients"] = {
            "n": int(unseen.sum()),
            "dice_mean": float(dice[unseen].mean()) if unseen.any() else None,
        }
    return report


def best_threshold(
    network: CausalCLIPSeg,
    items: Sequence[QaTaItem],
    preprocessing: Preprocessing,
    compute: Compute | None = None,
    progress: Progress | None = None,
) -> float:
    """The probability threshold with the highest mean Dice on some items, of 0.2, 0.25 … 0.7.

    Cross-entropy alone makes honest probabilities, for which the threshold that is best for Dice lies below
    one half.
    """
    compute, progress = compute or choose_compute(), progress or Progress()
    network = compute.place(network)
    tried = [SegmentationMetrics(round(float(t), 2)) for t in np.arange(0.2, 0.71, 0.05)]
    batch = EvaluationPlan.batch
    for start in range(0, len(items), batch):
        progress.step("fitting the threshold", start, len(items))
        chunk = items[start : start + batch]
        masks = torch.stack([fit_mask(read_grey(item.mask), preprocessing) for item in chunk])[:, None]
        probability = answer(network, chunk, preprocessing, compute)
        for metrics in tried:
            metrics.update(probability, masks)
    return max(tried, key=lambda metrics: metrics.compute().dice_mean).threshold


def answer(
    network: CausalCLIPSeg,
    items: Sequence[QaTaItem],
    preprocessing: Preprocessing,
    compute: Compute,
    wording: str = "full",
) -> Tensor:
    """Probabilities [n, 1, S, S] on the CPU for the items' own sentences, worded as asked."""
    films = torch.stack([prepare_film(read_grey(item.image), preprocessing) for item in items])
    sentences = [worded(item.sentence, wording) for item in items]
    return answer_films(network, films, sentences, preprocessing, compute)


def worded(sentence: str, wording: str) -> str:
    """A sentence of the data set, as the network reads it under a wording."""
    finding = parse(sentence)
    if not finding.places:
        return normalise_prompt(sentence).sentence
    return WORDINGS[wording](finding)


def patient_interval(values: np.ndarray, patients: np.ndarray, rounds: int, seed: int = 0) -> list[float]:
    """95 % interval of a mean, by drawing patients (not images) with replacement."""
    _, group = np.unique(patients, return_inverse=True)
    sums, counts = np.bincount(group, values), np.bincount(group)
    draws = np.random.default_rng(seed).integers(0, len(sums), (rounds, len(sums)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return [float(low), float(high)]
