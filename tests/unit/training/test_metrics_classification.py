"""Metrics against scikit-learn's or torchmetrics' and against known cases; splits by patient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional import classification as reference

from napari_clipmed.training import metrics_classification as ours
from napari_clipmed.training.splits import split_by_patient

LABELS = ("Control", "MMD", "IA", "AM", "AS")


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 300)
    scores = rng.random((300, 5)) + 0.8 * np.eye(5)[truth]
    return scores / scores.sum(axis=1, keepdims=True), truth, [f"P{i // 2}" for i in range(300)]


def test_against_torchmetrics(answers: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    scores, truth, _ = answers
    s, t = torch.from_numpy(scores), torch.from_numpy(truth)
    assert ours.macro_auc(scores, truth) == pytest.approx(
        float(reference.multiclass_auroc(s, t, 5)), abs=1e-6
    )
    assert ours.macro_f1(scores, truth) == pytest.approx(
        float(reference.multiclass_f1_score(s, t, 5)), abs=1e-6
    )
    expected = reference.multiclass_accuracy(s, t, 5, average="micro")
    assert ours.accuracy(scores, truth) == pytest.approx(float(expected), abs=1e-6)
    assert (ours.confusion(scores, truth) == reference.multiclass_confusion_matrix(s, t, 5).numpy()).all()
    expected = reference.multiclass_calibration_error(s, t, 5, n_bins=10)
    assert ours.calibration_error(scores, truth) == pytest.approx(float(expected), abs=1e-5)


def test_hard_auc_is_the_mean_of_recall_and_specificity(
    answers: tuple[np.ndarray, np.ndarray, list[str]],
) -> None:
    scores, truth, _ = answers
    table = ours.confusion(scores, truth)
    recall = np.diag(table) / table.sum(axis=1)
    false = table.sum(axis=0) - np.diag(table)
    specificity = 1 - false / (len(truth) - table.sum(axis=1))
    expected = (recall.mean() + specificity.mean()) / 2
    assert ours.hard_auc(scores, truth) == pytest.approx(expected)
    assert ours.hard_auc(scores, truth) < ours.macro_auc(scores, truth)


def test_pairwise_auc_looks_at_two_classes_only() -> None:
    truth = np.array([0, 0, 2, 2, 1])
    scores = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])
    assert ours.pairwise_auc(scores, truth, 2) == 1.0  # by the share within the pair
    assert np.isnan(ours.auc(np.array([0.1, 0.2]), np.array([True, True])))


def test_report_has_intervals_that_hold_the_figure(answers: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    report = ours.classification_report(*answers, LABELS, rounds=200)
    for name in ("accuracy", "macro_f1", "auc_ovr", "auc_hard"):
        low, high = report["ci95"][name]
        assert low < report[name] < high
    assert report["n"] == 300 and report["patients"] == 150
    assert set(report["auc_pairwise"]) == set(LABELS[1:])


def test_bootstrap_draws_patients_not_studies() -> None:
    """A hundred copies of three patients are worth three patients."""
    truth = np.tile([0, 1, 1], 100)
    scores = np.tile([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1]], (100, 1))
    patients = [f"P{i % 3}" for i in range(300)]
    wide = ours.patient_bootstrap({"acc": ours.accuracy}, scores, truth, patients, 200)["acc"]
    alone = [f"P{i}" for i in range(300)]
    narrow = ours.patient_bootstrap({"acc": ours.accuracy}, scores, truth, alone, 200)["acc"]
    assert wide[1] - wide[0] > 4 * (narrow[1] - narrow[0])


def test_no_patient_is_on_both_sides_and_classes_keep_their_share() -> None:
    patients = [f"P{i // 3}" for i in range(300)]
    labels = [LABELS[(i // 3) % 5] for i in range(300)]
    aside = split_by_patient(patients, labels, 0.2, seed=3)
    assert not {p for p, a in zip(patients, aside, strict=True) if a} & {
        p for p, a in zip(patients, aside, strict=True) if not a
    }
    for label in LABELS:
        assert sum(a for a, x in zip(aside, labels, strict=True) if x == label) == 12
    assert (aside == split_by_patient(patients, labels, 0.2, seed=3)).all()
    assert split_by_patient(["A", "B"], ["x", "y"], 0.1).sum() == 1
