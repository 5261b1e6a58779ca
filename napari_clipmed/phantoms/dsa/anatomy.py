"""One patient: the arteries of the injected side, the veins, the size of the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.arteries import grow_arteries
from napari_clipmed.phantoms.dsa.config import Ambient
from napari_clipmed.phantoms.dsa.tree import Tree
from napari_clipmed.phantoms.dsa.veins import grow_veins

LARGE_MM = 1.3
"""Radius from which a vessel counts as a trunk."""

VARIANTS = {"fetal PCA": 0.2, "hypoplastic A1": 0.1, "cross flow": 0.25, "infundibulum": 0.08}
"""Normal variants and how often they are drawn."""


@dataclass(frozen=True)
class Anatomy:
    """One patient: both trees and the draws that shaped them.

    Parameters
    ----------
    side : int
        +1 for the patient's left, -1 for the right: the injected carotid.
    arteries, veins : Tree
        The arterial tree is rooted in the neck, the venous one at the jugular bulb.
    scale : (3,) array
        Head size relative to the reference, along x, y, z.
    variants : tuple of str
        Normal variants present.
    common_carotid : bool
        Whether contrast is injected below the bifurcation, so that face, scalp and dura fill as well.
    """

    side: int
    arteries: Tree
    veins: Tree
    scale: NDArray[np.float64]
    variants: tuple[str, ...]
    common_carotid: bool = False

    @property
    def injection(self) -> str:
        """The injected vessel."""
        return "common carotid" if self.common_carotid else "internal carotid"


def draw_anatomy(rng: np.random.Generator, ambient: Ambient) -> Anatomy:
    """Draw one patient of a preset."""
    n_leaves = int(rng.uniform(*ambient.n_leaves))
    low, high = ambient.small_vessels
    # Spawning changes what `grow_anatomy` spawns: a preset that leaves the calibre alone must not.
    calibre = low if low == high else float(rng.spawn(1)[0].uniform(low, high))
    return grow_anatomy(rng, n_leaves, ambient.common_carotid_share, calibre)


def grow_anatomy(
    rng: np.random.Generator, n_leaves: int = 420, common_carotid_share: float = 0.12, calibre: float = 1.0
) -> Anatomy:
    """Grow one patient.

    Parameters
    ----------
    rng : numpy Generator
        Source of every draw.
    n_leaves : int
        Cortical end branches of the injected hemisphere.
    common_carotid_share : float
        How often contrast is injected below the bifurcation.
    calibre : float
        Of the small vessels, relative to the reference; the trunks keep theirs.
    """
    side = int(rng.choice([-1, 1]))
    variants = tuple(name for name, share in VARIANTS.items() if rng.random() < share)
    common = bool(rng.spawn(1)[0].random() < common_carotid_share)
    arteries = grow_arteries(rng, n_leaves, variants, common)
    veins = grow_veins(rng, n_leaves // 2)
    scale = rng.normal(1.0, 0.04, 3).clip(0.9, 1.1)
    for tree in (arteries, veins):
        tree.position = tree.position * scale * np.array([side, 1, 1])
        tree.radius = tree.radius * (1 + (calibre - 1) * np.clip((LARGE_MM - tree.radius) / 0.8, 0, 1))
    return Anatomy(side, arteries, veins, scale, variants, common)
