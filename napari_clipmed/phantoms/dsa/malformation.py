"""Arteriovenous malformation: a nidus, swollen feeders, a vein that fills too early, steal elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.brain import lateral_point
from napari_clipmed.phantoms.dsa.circulation import Circulation, Draw, FloatArray, Part
from napari_clipmed.phantoms.dsa.external_carotid import EXTERNAL
from napari_clipmed.phantoms.dsa.tree import Points, meander, smooth_curve

SITES = {"frontal": 0.28, "parietal": 0.28, "temporal": 0.2, "occipital": 0.09, "deep": 0.15}

# Mean and spread of the nidus' centre in mm: (front, up).
_CENTRES = {
    "frontal": ((28, 45), (9, 9)),
    "parietal": ((-38, 55), (10, 9)),
    "temporal": ((-12, -6), (11, 5)),
    "occipital": ((-76, 18), (6, 9)),
    "deep": ((-8, 20), (7, 6)),
}

_CAROTID = ["cervical ICA", "cavernous ICA", "supraclinoid ICA"]
_DRAINS = ("sagittal sinus", "deep vein stem", "straight sinus", "transverse sinus", "cortical vein stem")


def malformation(draw: Draw) -> Circulation:
    """A shunt: blood reaches the veins without passing capillaries, and is missing elsewhere."""
    circulation, tree, rng = draw.healthy(), draw.anatomy.arteries, draw.rng
    size_mm = 10 + 40 * draw.worse**1.2
    site = draw.choose_site(SITES)
    centre = _centre(draw, site, size_mm)
    feeders = _feeders(draw, centre, 1 + int(size_mm > 18) + int(size_mm > 32))
    feeding = np.zeros(len(tree), bool)
    for path in feeders:
        feeding[path] = True
    carotid = np.isin(tree.segment, _CAROTID)
    load = min(size_mm / 30, 1.3)
    swollen = np.maximum(tree.radius * (1 + 0.45 * load), 0.45 + 0.45 * load)
    circulation.radius = np.where(feeding & ~carotid, swollen, tree.radius)
    circulation.arrival = draw.bolus.travel(tree, np.where(feeding, 1.3 + size_mm / 60, 1.0))
    steal = min(size_mm / 40, 1.0)
    circulation.gain = circulation.gain * np.where(feeding | carotid, 1, 1 - 0.3 * steal)
    circulation.tissue_gain = 1 - 0.35 * steal
    ends = [int(path[0]) for path in feeders]
    arrival = float(circulation.arrival[ends].min())
    nidus = _nidus(rng, centre, size_mm, arrival)
    circulation.parts += nidus
    circulation.parts += [
        _link(draw, "feeder", tree.position[end], centre, circulation.radius[end], circulation.arrival[end])
        for end in ends
    ]
    circulation.parts += _early_veins(draw, centre, size_mm, arrival + float(rng.uniform(0.15, 0.4)))
    circulation.lesion_points = np.concatenate([part.points for part in nidus])
    circulation.lesion_radius = np.full(len(circulation.lesion_points), 1.8)
    circulation.site, circulation.severity = site, {"nidus_mm": round(size_mm)}
    circulation.sentence = (
        f"{size_mm:.0f} mm {draw.side} {site} arteriovenous malformation with an early draining vein."
    )
    return circulation


def _centre(draw: Draw, site: str, size_mm: float) -> Points:
    mean, spread = _CENTRES[site]
    front, up = draw.rng.normal(mean, spread)
    if site == "deep":
        point = np.array([draw.rng.uniform(12, 26), front, up])
    else:
        # The larger the nidus, the deeper its centre, so that it stays within the brain.
        point = lateral_point(front, up, 0.97 - 0.45 * size_mm / 132)
        point[0] *= draw.rng.uniform(0.35 if site in {"frontal", "parietal"} else 0.75, 1.0)
    return point * draw.anatomy.scale * [draw.anatomy.side, 1, 1]


def _feeders(draw: Draw, centre: Points, wanted: int) -> list[NDArray[np.int64]]:
    """Paths to the root from the nearest arteries that are not of one branch, downstream first."""
    tree = draw.anatomy.arteries
    feeders: list[NDArray[np.int64]] = []
    far = np.isin(tree.segment, EXTERNAL) * 1e3
    for node in np.argsort(np.linalg.norm(tree.position - centre, axis=1) + far)[:400]:
        path = tree.path_to_root(int(node))
        if not any(np.isin(path[:12], other).any() for other in feeders):
            feeders.append(path)
        if len(feeders) == wanted:
            break
    return feeders


def _nidus(rng: np.random.Generator, centre: Points, size_mm: float, arrival_s: float) -> list[Part]:
    """Tangled vessels: random walks with inertia that fill an ellipsoid of about `size_mm`."""
    parts, axes = [], size_mm / 2 * rng.uniform(0.75, 1.1, 3)
    for _ in range(8 + int(0.06 * size_mm**2)):
        n = int(rng.uniform(18, 40))
        heading = np.cumsum(rng.normal(0, 0.75, (n, 3)), axis=0) + rng.normal(size=3)
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        start = rng.normal(size=3)
        start *= rng.random() ** 0.6 / np.linalg.norm(start)
        walk = start + np.cumsum(heading, axis=0) * 1.1 / axes
        walk /= np.maximum(np.linalg.norm(walk, axis=1, keepdims=True), 1) ** 1.3
        radius = np.full(n, rng.uniform(0.3, 0.42 + 0.008 * size_mm))
        arrival = arrival_s + abs(rng.normal(0.05, 0.12)) + np.linspace(0, 0.15, n)
        parts.append(Part("nidus", centre + walk * axes, radius, np.full(n, 1.1), arrival, linger_s=0.25))
    return parts


def _link(
    draw: Draw, kind: str, start: Points, end: Points, radius: float, arrival_s: float, gain: float = 1.0
) -> Part:
    """A winding vessel from `start` to `end`."""
    reach = float(np.linalg.norm(end - start))
    middle = (start + end) / 2 + draw.rng.normal(0, 0.12 * reach + 0.5, 3)
    curve = smooth_curve(np.vstack([start, middle, end + draw.rng.normal(0, 0.5, 3)]), 1.0)
    curve = curve + meander(draw.rng, len(curve), 0.06 * reach)
    steps = np.linalg.norm(np.diff(curve, axis=0, prepend=curve[:1]), axis=1)
    arrival = arrival_s + np.cumsum(steps) / (0.7 * draw.bolus.velocity_mm_s)
    linger = 0.25 if kind == "early vein" else 0.0
    return Part(kind, curve, np.full(len(curve), radius), steps, arrival, gain, linger)


def _early_veins(draw: Draw, centre: Points, size_mm: float, arrival_s: float) -> list[Part]:
    """Dilated veins from the nidus to the nearest stem or sinus, and on to the neck."""
    veins, rng = draw.anatomy.veins, draw.rng
    trunks = veins.named(*_DRAINS)
    near = trunks[np.argsort(np.linalg.norm(veins.position[trunks] - centre, axis=1))]
    width = float(np.clip(rng.uniform(1.1, 1.7) + size_mm / 30, 1.2, 3.2))
    wanted = 1 + int(size_mm > 28 and rng.random() < 0.6)
    parts: list[Part] = []
    for node in near[:: max(1, len(near) // 6)][:wanted]:
        link = _link(draw, "early vein", centre, veins.position[node], width, arrival_s, gain=0.85)
        path = veins.path_to_root(int(node))
        steps = veins.edge_mm[path]
        arrival: FloatArray = link.arrival[-1] + np.cumsum(steps) / (0.5 * draw.bolus.velocity_mm_s)
        radius = 0.9 * np.maximum(veins.radius[path], width)
        parts += [link, Part("early vein", veins.position[path], radius, steps, arrival, 0.6, 0.3)]
    return parts
