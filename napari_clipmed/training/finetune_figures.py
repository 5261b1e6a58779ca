"""How good a model is on the cases of a plan, in figures that fit on a card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)

from napari_clipmed.progress import Progress
from napari_clipmed.training.finetune_data import collate_masks, collate_studies
from napari_clipmed.training.finetune_modules import DiagnosisTuner, SegmentationTuner
from napari_clipmed.training.metrics_segmentation import SegmentationMetrics


@torch.no_grad()
def diagnosis_figures(
    tuner: DiagnosisTuner, items: Any, keys: Sequence[str], progress: Progress
) -> dict[str, Any]:
    """Accuracy, macro F1 over the classes that occur, mean loss and confusion matrix (rows: truth).

    Parameters
    ----------
    tuner : DiagnosisTuner
        With the model to be judged.
    items : sequence of StudyItem
        At least one.
    keys : sequence of str
        Labels in order.
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
    k = len(keys)
    return {
        "n": len(truth),
        "accuracy": float(multiclass_accuracy(answers, truth, k, average="micro")),
        "macro_f1": float(multiclass_f1_score(answers, truth, k, average="macro")),
        "loss": float(functional.cross_entropy(answers, truth)),
        "labels": list(keys),
        "confusion": multiclass_confusion_matrix(answers, truth, k).tolist(),
    }


@torch.no_grad()
def segmentation_figures(tuner: SegmentationTuner, items: Any, progress: Progress) -> dict[str, Any]:
    """Dice and IoU, mean and pooled, at threshold 0.5, at the model's size."""
    tuner.eval()
    metrics = SegmentationMetrics()
    for n in range(len(items)):
        progress.step("Judging", n, len(items))
        image, sentence, target = (part.to(tuner.device) for part in collate_masks([items[n]]))
        metrics.update(tuner.logits((image, sentence, target)).sigmoid(), target)
    return metrics.compute().as_dict()
