"""Noise of single pixels: measured, taken away, and what it leaves open."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gamma

from napari_clipmed.inference.bolus import CERTAIN, certainty, follow_curves, tells_its_peak
from napari_clipmed.inference.curve_noise import noise_map, without_noise

TIMES = np.arange(0, 8, 0.5)
PEAK_AT = 3.65


def passing(noise: float, n: int = 2000, seed: int = 0) -> np.ndarray:
    """Curves of one bolus of height 1, each with noise of its own, (T, n)."""
    curve = gamma.pdf(TIMES - 2.0, 4, scale=0.55)
    curve /= gamma.pdf(3 * 0.55, 4, scale=0.55)
    return (curve[:, None] + np.random.default_rng(seed).normal(0, noise, (len(TIMES), n))).astype(np.float32)


def cleaned(curves: np.ndarray, noise: float):
    return without_noise(curves, TIMES, np.full(curves.shape[1], noise, np.float32))


def test_noise_is_measured_where_it_lies_and_contrast_is_none() -> None:
    rng = np.random.default_rng(0)
    sigma = np.where(np.arange(96) < 48, 1.0, 3.0)
    frames = rng.normal(0, 1, (20, 64, 96)) * sigma
    frames[:, :, ::12] += 20 * gamma.pdf(np.arange(20) / 2 - 2, 4, scale=0.6)[:, None, None]
    found = noise_map(frames.astype(np.float32))
    assert np.median(found[:, :36]) == pytest.approx(1.0, rel=0.1)
    assert np.median(found[:, 60:]) == pytest.approx(3.0, rel=0.1)


def test_a_still_pixel_has_noise_above_nothing() -> None:
    assert (noise_map(np.zeros((6, 20, 20), np.float32)) > 0).all()


@pytest.mark.parametrize("noise", [0.1, 0.2, 0.4])
def test_curves_come_nearer_to_the_truth(noise: float) -> None:
    truth, noisy = passing(0.0, 1), passing(noise)
    before = np.sqrt(np.mean((noisy - truth) ** 2))
    assert np.sqrt(np.mean((cleaned(noisy, noise).mean - truth) ** 2)) < 0.85 * before


def test_strong_contrast_is_left_as_it_is() -> None:
    curves = passing(0.002)
    np.testing.assert_allclose(cleaned(curves, 0.002).mean, curves, atol=0.02)


def test_a_level_of_its_own_moves_no_peak() -> None:
    curves = passing(0.1)
    raised = cleaned(curves + np.float32(0.5), 0.1).mean
    before, after = (follow_curves(one, TIMES, -9)[0][1] for one in (cleaned(curves, 0.1).mean, raised))
    assert np.mean(np.abs(after - before) < 0.1) > 0.95


@pytest.mark.parametrize(("noise", "right_share", "given"), [(0.03, 0.99, 0.99), (0.08, 0.95, 0.7)])
def test_times_that_are_given_are_right(noise: float, right_share: float, given: float) -> None:
    found = cleaned(passing(noise), noise)
    told = tells_its_peak(found, TIMES)
    off = np.abs(follow_curves(found.mean, TIMES, -9)[0][1] - PEAK_AT)
    assert (off[told] <= 0.25).mean() >= right_share
    assert told.mean() > given


def test_doubtful_times_are_those_that_are_left_out() -> None:
    found = cleaned(passing(0.12), 0.12)
    told, sure = tells_its_peak(found, TIMES), certainty(found, TIMES)
    off = np.abs(follow_curves(found.mean, TIMES, -9)[0][1] - PEAK_AT)
    assert 0.2 < told.mean() < 0.9 and (sure[told] >= CERTAIN).all()
    assert (off[told] <= 0.25).mean() > (off[~told] <= 0.25).mean() + 0.05


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_contrast_as_faint_as_noise_gives_no_time(noise: float) -> None:
    assert tells_its_peak(cleaned(passing(noise), noise), TIMES).mean() < 0.02
