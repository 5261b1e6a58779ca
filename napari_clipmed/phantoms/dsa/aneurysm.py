"""Saccular aneurysms of 2–12 mm at the forks where they are found, and their mimic, the infundibulum."""

from __future__ import annotations

import numpy as np

from napari_clipmed.phantoms.dsa.circulation import Circulation, Draw, Part
from napari_clipmed.phantoms.dsa.tree import Points

SITES = {"PComA": 0.28, "AComA": 0.27, "MCA bifurcation": 0.25, "ophthalmic": 0.1, "terminus": 0.1}

# Segment and node at which the dome sits, and where it points: lateral, front, up.
_SEATS: dict[str, tuple[str, int, tuple[float, float, float]]] = {
    "PComA": ("PComA", 0, (0.1, -0.9, -0.4)),
    "AComA": ("A1", -1, (-0.35, 0.7, 0.6)),
    "MCA bifurcation": ("M1", -1, (0.9, 0.15, 0.3)),
    "ophthalmic": ("ophthalmic", 0, (-0.5, 0.2, 0.85)),
    "terminus": ("supraclinoid ICA", -1, (0.1, -0.2, 1.0)),
}


def aneurysm(draw: Draw) -> Circulation:
    """A dome with an irregular wall, sometimes a daughter sac; it empties later than its parent."""
    circulation, tree, rng = draw.healthy(), draw.anatomy.arteries, draw.rng
    site = draw.choose_site(SITES)
    segment, which, pointing = _SEATS[site]
    node = int(tree.named(segment)[which])
    diameter = 2.0 + 10.0 * draw.worse**1.3
    radius = diameter / 2
    outward = np.array(pointing) * [draw.anatomy.side, 1, 1] + rng.normal(0, 0.3, 3)
    outward /= np.linalg.norm(outward)
    centre = tree.position[node] + outward * (0.8 * circulation.radius[node] + 0.85 * radius)
    linger = float(rng.uniform(0.35, 1.1) * (0.6 + 0.08 * diameter))
    arrival = float(circulation.arrival[node])
    circulation.parts.append(_dome("aneurysm", centre, radius, arrival, rng, linger))
    if diameter > 5 and rng.random() < 0.4:
        aside = rng.normal(size=3)
        aside *= 0.9 * radius / np.linalg.norm(aside)
        circulation.parts.append(_dome("aneurysm", centre + aside, 0.4 * radius, arrival, rng, linger))
    circulation.lesion_points, circulation.lesion_radius = centre[None], np.array([radius])
    circulation.site, circulation.severity = site, {"diameter_mm": round(diameter, 1)}
    circulation.sentence = f"Saccular {diameter:.0f} mm aneurysm of the {draw.side} {site}."
    return circulation


def infundibulum(draw: Draw, circulation: Circulation) -> Part:
    """A widened origin of the posterior communicating artery, at most 3 mm; it empties with its parent."""
    node = int(draw.anatomy.arteries.named("PComA")[0])
    centre = draw.anatomy.arteries.position[node] + draw.rng.normal(0, 0.2, 3)
    radius = float(draw.rng.uniform(0.8, 1.3))
    return _dome("infundibulum", centre, radius, float(circulation.arrival[node]), draw.rng, 0.0)


def _dome(
    kind: str, centre: Points, radius: float, arrival_s: float, rng: np.random.Generator, linger_s: float
) -> Part:
    """An irregular ball of contrast, made of many small ones."""
    n = int(np.clip(60 * radius, 60, 420))
    ray = rng.normal(size=(n, 3))
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    lobes = rng.normal(0, 1, (3, 3))
    bulge = 1 + 0.09 * np.tanh(ray @ lobes.T).sum(1)
    points = centre + ray * (0.86 * radius * bulge * rng.random(n) ** (1 / 3))[:, None]
    small = np.full(n, max(0.22 * radius, 0.25))
    volume = 4 / 3 * np.pi * radius**3 / n
    length = volume / (np.pi * small**2)
    return Part(kind, points, small, length, np.full(n, arrival_s + 0.05), linger_s=linger_s, scattered=True)
