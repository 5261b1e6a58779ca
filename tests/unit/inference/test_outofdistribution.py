"""What the model never saw is noticed; what it saw is not."""

from __future__ import annotations

import pytest
import torch
from small_studies import bolus, make_study, make_view

from napari_clipmed.inference.outofdistribution import describe, fit_statistics, plain_rules, strangeness
from napari_clipmed.study import Kind


def cloud(n: int, seed: int, dimensions: int = 60, rank: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(rank, dimensions, generator=torch.Generator().manual_seed(99))
    noise = 0.1 * torch.randn(n, dimensions, generator=generator)
    return 5 + torch.randn(n, rank, generator=generator) @ mixing + noise


@pytest.fixture(scope="module")
def fitted() -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    return fit_statistics(cloud(200, 1), cloud(100, 2), components=8)


def test_views_like_those_of_the_training_pass(fitted: tuple) -> None:
    tensors, calibration = fitted
    scores = [strangeness(tensors, calibration, row) for row in cloud(100, 3)]
    assert sum(score > 1 for score in scores) <= 5
    assert all(key.startswith("ood.") for key in tensors)


def test_far_along_known_directions_and_off_them_are_both_strange(fitted: tuple) -> None:
    tensors, calibration = fitted
    inside = cloud(1, 4)[0]
    mean = tensors["ood.mean"]
    assert strangeness(tensors, calibration, mean + 8 * (inside - mean)) > 1
    off = inside + 2 * torch.randn(60, generator=torch.Generator().manual_seed(5))
    assert strangeness(tensors, calibration, off) > 1


def test_without_statistics_or_with_others_nothing_is_claimed(fitted: tuple) -> None:
    tensors, calibration = fitted
    assert strangeness({}, calibration, torch.zeros(60)) is None
    assert strangeness(tensors, {}, torch.zeros(60)) is None
    assert strangeness(tensors, calibration, torch.zeros(61)) is None


def test_a_descriptor_is_finite_for_a_single_constant_frame() -> None:
    descriptor = describe(torch.ones(1, 12, 2, 2), torch.zeros(1, 64, 64))
    assert descriptor.shape == (2 * 12 + 10,)
    assert torch.isfinite(descriptor).all()


def test_constant_descriptors_do_not_explode() -> None:
    training = cloud(50, 6)
    training[:, 7] = 1.0
    tensors, calibration = fit_statistics(training, training)
    score = strangeness(tensors, calibration, training[0])
    assert score is not None
    assert score < 1.5


def test_plain_rules_name_the_kind_and_missing_subtraction() -> None:
    run = make_view(bolus(4))
    assert plain_rules(make_study(run), Kind.ANGIOGRAM) == []
    assert "chest film" in plain_rules(make_study(run, kind=Kind.CHEST), Kind.ANGIOGRAM)[0]
    native = make_view(bolus(4), subtracted=False)
    assert "not subtracted" in plain_rules(make_study(native), Kind.ANGIOGRAM)[0]
