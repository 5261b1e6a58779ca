"""When and how strongly each piece of vessel and tissue darkens.

A gamma-variate bolus (injected over some seconds) is carried along the tree: arrival = path / velocity,
dispersion grows with arrival.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc

from napari_clipmed.phantoms.dsa.config import Ambient
from napari_clipmed.phantoms.dsa.tree import Tree

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Bolus:
    """The injection and the speed of this patient's blood.

    Parameters
    ----------
    onset_s : float
        When contrast enters the root of the tree, seconds after the first frame.
    duration_s : float
        Length of the injection.
    alpha : float
        Shape of the gamma variate.
    beta_s, beta_growth : float
        Its scale at the root, and how much that grows with each second of travel.
    velocity_mm_s : float
        In a vessel of 2.5 mm radius; scales with the square root of the radius.
    transit_s : float
        From the capillaries to the cortical veins.
    """

    onset_s: float
    duration_s: float
    alpha: float
    beta_s: float
    beta_growth: float
    velocity_mm_s: float
    transit_s: float

    def curve(self, times_s: FloatArray, arrival_s: FloatArray, beta_s: FloatArray) -> NDArray[np.float32]:
        """Relative concentration, (N, T); 1 is undiluted contrast.

        The gamma variate of Thompson (1964) convolved with the injection's box: a difference of two
        regularised incomplete gamma functions.
        """
        grid = np.linspace(0, 24, 1200)
        table = gammainc(self.alpha + 1, grid).astype(np.float32)
        since = (times_s[None] - arrival_s[:, None] - self.onset_s).astype(np.float32)
        inverse = (1 / beta_s[:, None]).astype(np.float32)
        return _lookup(table, since * inverse) - _lookup(
            table, (since - np.float32(self.duration_s)) * inverse
        )

    def travel(self, tree: Tree, faster: FloatArray | None = None) -> FloatArray:
        """Seconds from the root to each node, (N,)."""
        speed = self.velocity_mm_s * np.sqrt(np.maximum(tree.radius, 0.12) / 2.5)
        if faster is not None:
            speed = speed * faster
        return tree.accumulate(tree.edge_mm / speed)

    def beta(self, arrival_s: FloatArray) -> FloatArray:
        """Scale of the gamma variate after `arrival_s` of travel."""
        return self.beta_s + self.beta_growth * np.maximum(arrival_s, 0)


def _lookup(table: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of a table over 0…24 at x, linearly interpolated; 0 before, the last value after."""
    position = np.clip(x * np.float32((len(table) - 1) / 24), 0, len(table) - 1.001)
    index = position.astype(np.int32)
    part = position - index
    return table[index] * (1 - part) + table[index + 1] * part


def draw_bolus(rng: np.random.Generator, ambient: Ambient, quiet_s: float) -> Bolus:
    """A patient's injection, drawn alike for every class; `quiet_s` is the time before contrast arrives."""
    return Bolus(
        onset_s=quiet_s,
        duration_s=float(rng.uniform(*ambient.injection_s)),
        alpha=float(rng.uniform(*ambient.bolus_alpha)),
        beta_s=float(rng.uniform(*ambient.bolus_beta_s)),
        beta_growth=float(rng.uniform(*ambient.bolus_growth)),
        velocity_mm_s=float(rng.uniform(*ambient.velocity_mm_s)),
        transit_s=float(np.clip(rng.normal(*ambient.transit_mean_sd_s), 1.3, 4.5)),
    )
