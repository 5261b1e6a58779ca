"""Figures of certainty: calibration, sets, what is named, what is right."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from napari_clipmed.inference.outofdistribution import fit_statistics
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.training.clip_dsa_certainty import certainty_figures, selective_accuracy
from napari_clipmed.training.clip_dsa_evaluate import Answers
from napari_clipmed.training.clip_dsa_export import calibrate, halves
from napari_clipmed.training.dsa_data import StudyRow
from napari_clipmed.training.metrics_classification import calibration_error, reliability
from napari_clipmed.training.reliability_plot import reliability_svg

DSA = LabelSet.named("dsa")


def overconfident(n: int = 1500, seed: int = 0, per_patient: int = 1) -> Answers:
    """Answers three times too sure of themselves; control and stenosis are taken for each other."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(5, size=n)
    logits = rng.normal(0, 1, (n, 5))
    logits[np.arange(n), truth] += np.array([0.8, 4.0, 3.0, 6.0, 0.8])[truth]
    rows = [
        StudyRow(str(i), f"P{i // per_patient}", "val", DSA.keys[k], Path("none"), {}, "")
        for i, k in enumerate(truth)
    ]
    return Answers(rows, truth, dict.fromkeys(("AP", "LA", "both"), 3.0 * logits))


def test_the_figures_of_a_calibrated_model_keep_the_promise_and_name_mostly_what_is_right() -> None:
    calibration = calibrate(overconfident(seed=1), DSA)
    found = certainty_figures(overconfident(seed=2), DSA, calibration, {}, rounds=20)
    assert found["calibration_error"] < 0.05 < found["calibration_error_uncalibrated"]
    assert found["sets"]["coverage"] >= 0.88
    assert found["ci95"]["coverage"][0] < found["sets"]["coverage"] < found["ci95"]["coverage"][1]
    assert all(row["coverage"] > 0.83 for row in found["sets"]["by_class"].values())
    assert found["sets"]["by_class"]["Control"]["size"] > found["sets"]["by_class"]["AM"]["size"]
    assert found["accuracy_certain"] > 0.9 > found["accuracy_uncertain"]
    assert found["confident_wrong"] == pytest.approx(
        (1 - found["accuracy_certain"]) * (1 - found["uncertain"]), abs=1e-3
    )
    assert found["uncertain_by_class"]["Control"] > found["uncertain_by_class"]["AM"]
    assert found["selective_accuracy"]["50%"] > found["selective_accuracy"]["90%"]


def test_what_is_unlike_the_training_data_counts_as_uncertain_and_an_older_card_has_no_sets() -> None:
    answers = overconfident(60)
    usual = torch.randn(300, 12, generator=torch.Generator().manual_seed(0))
    statistics, thresholds = fit_statistics(usual[:200], usual[200:], components=4)
    answers.descriptors = usual[:120] + 50
    found = certainty_figures(answers, DSA, {"temperature": 1.0} | thresholds, statistics, rounds=0)
    assert (found["unlike_training"], found["uncertain"], found["sets"]) == (1.0, 1.0, None)
    assert found["accuracy_certain"] is None and "ci95" not in found
    answers.descriptors = usual[:1].repeat(120, 1)
    answers.descriptors[5] += 50  # one view of the third study
    assert answers.strange(statistics, thresholds).nonzero()[0].tolist() == [2]


def test_no_patient_is_in_both_halves_and_each_has_all_classes() -> None:
    first, second = halves(overconfident(200, per_patient=2))
    assert not {row.patient for row in first.rows} & {row.patient for row in second.rows}
    assert len(first.rows) + len(second.rows) == 200
    assert set(first.truth) == set(second.truth) == set(range(5))
    few = calibrate(overconfident(3), DSA)
    assert set(few["prediction_sets"]["thresholds"]["both"].values()) == {0.0}


def test_reliability_is_the_calibration_error_in_parts() -> None:
    scores = np.array([[0.95, 0.05], [0.91, 0.09], [0.35, 0.65]])
    truth = np.array([0, 1, 1])
    assert reliability(scores, truth) == [
        {"above": 0.6, "n": 1, "confidence": pytest.approx(0.65), "accuracy": 1.0},
        {"above": 0.9, "n": 2, "confidence": pytest.approx(0.93), "accuracy": 0.5},
    ]
    assert calibration_error(scores, truth) == pytest.approx((0.35 + 2 * 0.43) / 3)
    assert selective_accuracy(scores, truth) == {
        "50%": 0.5,
        "70%": 0.5,
        "90%": pytest.approx(2 / 3, abs=1e-4),
    }


def test_the_plot_is_a_picture_with_a_dot_for_each_bin() -> None:
    answers = overconfident(200)
    found = certainty_figures(answers, DSA, calibrate(answers, DSA), {}, rounds=0)
    root = ElementTree.fromstring(reliability_svg(found, "a <model> & split"))
    dots = [one for one in root.iter() if one.tag.endswith("circle")]
    assert len(dots) == sum(len(rows) for rows in found["reliability"].values())
    words = " ".join(one.text or "" for one in root.iter())
    assert "a <model> & split" in words and "not for diagnosis" in words
