"""When a disease may be named, and which classes a study may have."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from napari_clipmed.inference.certainty import judge
from napari_clipmed.inference.prediction_sets import (
    HIGHEST_THRESHOLD,
    describe_thresholds,
    fit_thresholds,
    prediction_set,
)

TITLES = {"AM": "arteriovenous malformation", "MMD": "moyamoya disease", "Control": "no disease"}


def three(am: float, mmd: float) -> dict[str, float]:
    return {"AM": am, "MMD": mmd, "Control": 1 - am - mmd}


def test_a_clear_answer_is_named() -> None:
    certainty = judge(
        {"both": three(0.95, 0.03), "AP": three(0.9, 0.05), "LA": three(0.8, 0.1)}, False, ("AM",)
    )
    assert certainty.certain and certainty.headline(TITLES) == "arteriovenous malformation"


@pytest.mark.parametrize(
    ("probabilities", "unlike", "possible", "reason"),
    [
        ({"both": three(1.0, 0.0)}, True, ("AM",), "unlike what the model learned from"),
        ({"both": three(0.9, 0.05)}, False, ("AM", "MMD"), "prediction set holds"),
        ({"both": three(0.9, 0.05)}, False, ("MMD",), "prediction set holds moyamoya disease"),
        ({"both": three(0.9, 0.05)}, False, (), "prediction set is empty"),
        ({"both": three(0.7, 0.2)}, False, ("AM",), "reaches 0.70"),
        (
            {"both": three(0.9, 0.05), "AP": three(0.9, 0.0), "LA": three(0.1, 0.8)},
            False,
            ("AM",),
            "AP and LA contradict each other",
        ),
    ],
)
def test_what_makes_an_answer_uncertain(probabilities, unlike, possible, reason) -> None:
    certainty = judge(probabilities, unlike, possible, TITLES)
    assert not certainty.certain and reason in " ".join(certainty.reasons)
    assert certainty.headline(TITLES) == "Uncertain: arteriovenous malformation or moyamoya disease"


def test_a_model_without_sets_and_a_single_view_are_judged_too() -> None:
    assert judge({"AP": three(0.9, 0.05)}, False).certain
    assert judge({"AP": three(0.6, 0.3)}, False).headline() == "Uncertain: AM or MMD"


def noisy_answers(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.integers(0, 5, n)
    logits = rng.normal(0, 1, (n, 5)) + 1.5 * np.eye(5)[truth]
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return chances, truth


def test_nine_in_ten_of_every_class_are_covered_on_studies_never_seen() -> None:
    rng = np.random.default_rng(0)
    thresholds = fit_thresholds(*noisy_answers(rng, 4000))
    chances, truth = noisy_answers(rng, 20_000)
    covered = chances[np.arange(len(truth)), truth] >= thresholds[truth]
    for k in range(5):
        own = covered[truth == k]
        spread = sqrt(0.09 / len(own) + 0.09 / 800)  # of both samples
        assert abs(own.mean() - 0.9) < 4 * spread


def test_too_few_studies_promise_nothing_and_ties_only_cover_more() -> None:
    few = fit_thresholds(np.full((8, 2), 0.5), np.zeros(8, int))
    assert few.tolist() == [0.0, 0.0]  # in every set
    tied = fit_thresholds(np.full((50, 2), 0.4), np.zeros(50, int))
    assert tied[0] == 0.4
    sure = fit_thresholds(np.full((50, 2), 0.999), np.zeros(50, int))
    assert sure[0] == HIGHEST_THRESHOLD


def test_sets_come_from_the_card_or_not_at_all() -> None:
    card = {"prediction_sets": describe_thresholds({"both": np.array([0.2, 0.3, 0.5])}, tuple(TITLES), 50)}
    assert prediction_set(three(0.5, 0.4), card, "both") == ("AM", "MMD")
    assert prediction_set(three(0.1, 0.2), card, "both") == ("Control",)
    assert prediction_set(three(0.5, 0.4), card, "AP") is None
    assert prediction_set(three(0.5, 0.4), {}, "both") is None
    assert prediction_set({"other": 1.0}, card, "both") is None
