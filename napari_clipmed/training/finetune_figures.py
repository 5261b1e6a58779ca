"""How good a model is on the cases of a plan: one answer a case, and figures that fit on a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from napari_clipmed.progress import Progress
from napari_clipmed.training.finetune_data import collate_masks, collate_studies
from napari_clipmed.training.finetune_modules import DiagnosisTuner, SegmentationTuner
from napari_clipmed.training.metrics_classification import accuracy, confusion, macro_f1
from napari_clipmed.training.metrics_segmentation import SegmentationMetrics

HEADLINE = {"diagnosis": "macro_f1", "segmentation": "dice_mean"}
"""The figure that decides whether a round helped."""

TITLES = {"macro_f1": "Macro F1", "accuracy": "Accuracy", "dice_mean": "Mean Dice", "miou_mean": "Mean IoU"}


@dataclass(frozen=True)
class Judgement:
    """What a model answered about each case of a set.

    Parameters
    ----------
    task : str
        "diagnosis" or "segmentation".
    figures : dict
        Of the whole set.
    cases, patients : list of str
        Of each answer.
    truth : list of int
        Index of the true class of each case; empty for masks.
    scores : list of list of float
        Probabilities of each case; empty for masks.
    dice : list of float
        Of each mask; empty for diagnoses.
    names : list of str
        Of the classes, or of each mask.
    """

    task: str
    figures: dict[str, Any]
    cases: list[str]
    patients: list[str]
    truth: list[int] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    dice: list[float] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@torch.no_grad()
def judge_diagnoses(
    tuner: DiagnosisTuner,
    items: Any,
    keys: Sequence[str],
    who: Sequence[tuple[str, str]],
    progress: Progress,
) -> Judgement:
    """Accuracy, macro F1 over the classes that occur, mean loss and confusion matrix (rows: truth).

    Parameters
    ----------
    tuner : DiagnosisTuner
        With the model to be judged.
    items : sequence of StudyItem
        At least one.
    keys : sequence of str
        Labels in order.
    who : sequence of (case, patient)
        Of each item.
    """
    tuner.eval()
    logits, labels = [], []
    for n in range(len(items)):
        progress.step("Judging", n, len(items))
        (group,) = collate_studies([items[n]])
        (group,) = tuner.transfer_batch_to_device([group], tuner.device, 0)
        logits.append(tuner.logits(group).float().cpu())
        labels.append(group.labels.cpu())
    answers, truth = torch.cat(logits), torch.cat(labels)
    scores, true = answers.softmax(dim=1).numpy().astype(np.float64), truth.numpy()
    figures = {
        "n": len(truth),
        "accuracy": accuracy(scores, true),
        "macro_f1": macro_f1(scores, true),
        "loss": float(functional.cross_entropy(answers, truth)),
        "labels": list(keys),
        "confusion": confusion(scores, true).tolist(),
    }
    cases, patients = _columns(who)
    return Judgement(
        "diagnosis",
        figures,
        cases,
        patients,
        truth=true.tolist(),
        scores=scores.round(5).tolist(),
        names=list(keys),
    )


@torch.no_grad()
def judge_masks(
    tuner: SegmentationTuner,
    items: Any,
    names: Sequence[str],
    who: Sequence[tuple[str, str]],
    progress: Progress,
) -> Judgement:
    """Dice and IoU, mean and pooled, at threshold 0.5, at the model's size."""
    tuner.eval()
    metrics = SegmentationMetrics()
    for n in range(len(items)):
        progress.step("Judging", n, len(items))
        batch = tuner.transfer_batch_to_device(collate_masks([items[n]]), tuner.device, 0)
        metrics.update(tuner.logits(batch).sigmoid(), batch[2])
    cases, patients = _columns(who)
    dice = [round(float(value), 5) for value in metrics.per_image_dice()]
    return Judgement(
        "segmentation", metrics.compute().as_dict(), cases, patients, dice=dice, names=list(names)
    )


def _columns(who: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [case for case, _ in who], [patient for _, patient in who]
