"""Curves of single pixels: how noisy they are, without that noise, and how surely they tell their peak.

Contrast comes and goes over several frames, quantum noise is new in each one. So a curve is taken for a
Gaussian process (Rasmussen & Williams 2006, chapter 2) whose correlation falls off over `CORRELATION` frames,
on a level of its own. Its posterior mean smooths each curve just as much as the noise beside its peak asks:
strong vessels not at all, faint ones over two or three frames. Curves drawn from the posterior then say how
often the peak would lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

CORRELATION = 1.5
"""Frame intervals over which contrast stays alike; on twelve simulated studies 1 to 2 did equally well."""

LEVEL = 1.0
"""Variance of a curve's own level, against that of its course: the mask's noise moves it up or down."""

NEIGHBOURHOOD_PX = 15
"""Side of the square over which noise is taken to be the same; it grows behind bone."""

LEAST_NOISE = 1e-9
"""Of frames that hold none, so that shares of it can be taken."""

LEAST_CONTRAST = 2.0
"""Standard deviations of noise that a curve is taken to rise by at least: noise alone reaches that."""

DRAWS = 32
"""Curves drawn for each pixel."""


def noise_map(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standard deviation of the noise of each pixel, (h, w), from (T, h, w) frames.

    Of second differences in time, which a smooth curve leaves small; the median over time passes over the
    few frames in which contrast comes.
    """
    second = np.abs(np.diff(frames, 2, axis=0))
    one = np.median(second, axis=0) / (0.6745 * np.sqrt(6))
    return np.maximum(uniform_filter(one, NEIGHBOURHOOD_PX), LEAST_NOISE).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Curves without their noise, and what is left open about them.

    Parameters
    ----------
    mean : (T, N) float32 array
        The likeliest curves.
    patterns : (T, T) float32 array
        Independent patterns over time, one a column.
    spread : (T, N) float32 array
        Standard deviation of each pattern in each curve.
    noise : (N,) float32 array
        Standard deviation of the noise that was taken away.
    """

    mean: NDArray[np.float32]
    patterns: NDArray[np.float32]
    spread: NDArray[np.float32]
    noise: NDArray[np.float32]

    def only(self, chosen: NDArray[np.bool_]) -> Posterior:
        """Some of the curves."""
        return Posterior(self.mean[:, chosen], self.patterns, self.spread[:, chosen], self.noise[chosen])

    def draws(self) -> Iterator[NDArray[np.float32]]:
        """Other curves (T, N) that the samples allow, `DRAWS` times, in pairs beside the likeliest.

        The same chances are taken for all curves: each has its own answer, and a million need no million
        random numbers.
        """
        rng = np.random.default_rng(0)
        for _ in range(DRAWS // 2):
            chance = rng.standard_normal((len(self.mean), 1), dtype=np.float32)
            beside = np.asarray((self.patterns * chance.T) @ self.spread, dtype=np.float32)
            yield np.add(self.mean, beside, dtype=np.float32)
            yield np.subtract(self.mean, beside, dtype=np.float32)


def without_noise(
    curves: NDArray[np.float32], times: NDArray[np.float64], noise: NDArray[np.float32]
) -> Posterior:
    """The posterior of many curves at once.

    Parameters
    ----------
    curves : (T, N) float32 array
    times : (T,) float64 array
        Increasing, not necessarily even.
    noise : (N,) float32 array
        Standard deviation of the noise of each curve, above 0.
    """
    apart = np.subtract.outer(times, times) / np.median(np.diff(times))
    variances, patterns = np.linalg.eigh(np.exp(-0.5 * (apart / CORRELATION) ** 2) + LEVEL)
    variances = np.maximum(variances, 0.0)[:, None]
    height = np.maximum(curves.max(axis=0), LEAST_CONTRAST * noise)
    share = (noise / height) ** 2
    trust = (variances / (variances + share)).astype(np.float32)
    patterns = patterns.astype(np.float32)
    mean = patterns @ (trust * (patterns.T @ curves))
    return Posterior(mean, patterns, (np.sqrt(trust) * noise).astype(np.float32), noise)
