"""Focal arterial stenosis of 50–95 % (WASID), with post-stenotic dilatation and delay and no basal net."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.circulation import Circulation, Draw, FloatArray
from napari_clipmed.phantoms.dsa.tree import Tree

SITES = {
    "M1": 0.36,
    "cavernous ICA": 0.16,
    "supraclinoid ICA": 0.16,
    "cervical ICA": 0.12,
    "M2": 0.12,
    "A1": 0.08,
}

SMALLEST_MM = 0.06
"""Radius that remains of an occluded vessel."""


def stenosis(draw: Draw) -> Circulation:
    """A short narrowing of one large artery; what lies beyond fills later and, if it is tight, less."""
    circulation, tree, rng = draw.healthy(), draw.anatomy.arteries, draw.rng
    site = draw.choose_site(SITES)
    node = int(rng.choice(_middle_of(tree, site)))
    percent = 50 + 45 * draw.worse
    half_mm = float(rng.uniform(1.5, 3.5) * np.sqrt(circulation.radius[node] / 1.5))
    dilate = float(rng.uniform(0.0, 0.3))
    circulation.radius, profile = narrowed(tree, circulation.radius, node, percent, half_mm, dilate)
    beyond = tree.descendants(node)
    tightness = max(0.0, (percent - 55) / 40) ** 1.5
    circulation.arrival = circulation.arrival + beyond * tightness * rng.uniform(0.5, 1.6)
    circulation.gain = circulation.gain * np.where(beyond, 1 - 0.45 * tightness, 1)
    shown = (profile > 0.5) & (tree.segment == site)
    shown[node] = True
    circulation.lesion_points = tree.position[shown]
    circulation.lesion_radius = 1.25 * np.maximum(tree.radius[shown], 0.8)
    circulation.site = site
    circulation.severity = {"stenosis_percent": round(percent), "length_mm": round(2 * half_mm, 1)}
    circulation.sentence = f"Focal {percent:.0f} % stenosis of the {draw.side} {site}, without a basal net."
    return circulation


def _middle_of(tree: Tree, site: str) -> NDArray[np.int64]:
    """Nodes of a segment away from its ends; of M2 the first trunk, of the neck what the picture shows."""
    nodes = tree.named(site)
    if site == "M2":
        return nodes[2:9]
    if site == "cervical ICA":
        nodes = nodes[tree.position[nodes, 2] > -80]
    quarter = len(nodes) // 4
    return nodes[quarter : max(3 * quarter, quarter + 1)]


def narrowed(
    tree: Tree, radius: FloatArray, node: int, percent: float, half_mm: float, dilate: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Radii with a focal stenosis at a node, and the share of the narrowing at each node.

    Parameters
    ----------
    tree : Tree
        The arteries.
    radius : (N,) array
        Before.
    node : int
        Its narrowest place.
    percent : float
        WASID: 100·(1 − narrowest diameter / normal diameter).
    half_mm : float
        Half its length.
    dilate : float
        Share by which the vessel widens beyond it.

    Returns
    -------
    radius, profile : (N,) arrays
        Millimetres, and 0…1.
    """
    along = tree.accumulate(tree.edge_mm)
    on_course = tree.descendants(node)
    on_course[tree.path_to_root(node)] = True
    distance = np.where(on_course, along - along[node], np.inf)
    profile = np.exp(-0.5 * np.minimum(np.abs(distance / half_mm), 9.0) ** 4)
    past = np.clip((distance - 3.2 * half_mm) / (1.2 * half_mm), -9, 9)
    bulge = 1 + dilate * np.exp(-0.5 * past**2) * (distance > 0)
    left = radius - percent / 100 * profile * np.minimum(radius, radius[node])
    return np.where(on_course, np.maximum(left, SMALLEST_MM) * bulge, radius), profile
