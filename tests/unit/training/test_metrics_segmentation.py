"""Mean and pooled figures, by hand and against torchmetrics."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.classification import BinaryF1Score, BinaryJaccardIndex

from napari_clipmed.training.causal_clipseg_evaluate import patient_interval
from napari_clipmed.training.metrics_segmentation import SegmentationMetrics


def test_hand_values():
    metrics = SegmentationMetrics()
    truth = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0]])
    probability = torch.tensor([[0.9, 0.5, 0.5, 0.1], [0.2, 0.1, 0.9, 0.1]])
    metrics.update(probability, truth)
    scores = metrics.compute()
    assert scores.n == 2
    assert scores.dice_mean == pytest.approx((4 / 5 + 0) / 2)
    assert scores.miou_mean == pytest.approx((2 / 3 + 0) / 2)
    assert scores.dice_pooled == pytest.approx(2 * 2 / (4 + 3))
    assert scores.miou_pooled == pytest.approx(2 / 5)


def test_against_torchmetrics():
    torch.manual_seed(0)
    probability, truth = torch.rand(7, 1, 9, 9), (torch.rand(7, 1, 9, 9) > 0.6).long()
    metrics = SegmentationMetrics(threshold=0.3)
    metrics.update(probability[:4], truth[:4])
    metrics.update(probability[4:], truth[4:])
    scores = metrics.compute()
    dice, iou = BinaryF1Score(threshold=0.3), BinaryJaccardIndex(threshold=0.3)
    assert scores.dice_pooled == pytest.approx(dice(probability, truth).item(), abs=1e-6)
    assert scores.miou_pooled == pytest.approx(iou(probability, truth).item(), abs=1e-6)
    each = [(dice(p, t).item(), iou(p, t).item()) for p, t in zip(probability, truth, strict=True)]
    assert scores.dice_mean == pytest.approx(sum(d for d, _ in each) / 7, abs=1e-6)
    assert scores.miou_mean == pytest.approx(sum(j for _, j in each) / 7, abs=1e-6)
    # Pooled figures obey Dice = 2J/(1+J), means do not: how one tells the protocols of papers apart.
    assert scores.dice_pooled == pytest.approx(2 * scores.miou_pooled / (1 + scores.miou_pooled))


def test_empty_masks():
    metrics = SegmentationMetrics()
    nothing, something = torch.zeros(1, 4), torch.ones(1, 4)
    metrics.update(nothing, nothing)
    metrics.update(something, nothing)
    metrics.update(nothing, something)
    scores = metrics.compute()
    assert metrics.per_image_dice().tolist() == [1.0, 0.0, 0.0]
    assert scores.n_empty_truth == 2
    assert "both empty counts 1" in scores.as_dict()["empty_masks"]


def test_images_of_other_sizes_count_alike():
    metrics = SegmentationMetrics()
    metrics.update(torch.ones(1, 2, 2), torch.ones(1, 2, 2))
    metrics.update(torch.zeros(1, 20, 30), torch.ones(1, 20, 30))
    assert metrics.compute().dice_mean == 0.5
    assert metrics.compute().dice_pooled < 0.02


def test_nothing_measured():
    assert SegmentationMetrics().compute().n == 0


def test_interval_draws_patients_not_images():
    import numpy as np

    values = np.array([0.0] * 50 + [1.0] * 50)
    of_two = patient_interval(values, np.array(["a"] * 50 + ["b"] * 50), 500)
    of_hundred = patient_interval(values, np.arange(100).astype(str), 500)
    assert of_two == [0.0, 1.0]
    assert 0.35 < of_hundred[0] < 0.5 < of_hundred[1] < 0.65
