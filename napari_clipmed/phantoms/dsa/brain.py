"""The brain's hull, its surface and the territories that arteries supply; millimetres, the left side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.tree import Points

BRAIN_CENTRE = np.array([0.0, -18.0, 24.0])
BRAIN_AXES = np.array([66.0, 84.0, 66.0])


def depth(points: Points) -> NDArray[np.float64]:
    """0 at the brain's centre, 1 on its surface. (N, 3) to (N,)."""
    return np.linalg.norm((points - BRAIN_CENTRE) / BRAIN_AXES, axis=1)


def on_surface(points: Points) -> Points:
    """Slide the inner points of a path so that their depth goes evenly from the first's to the last's."""
    rho = depth(points)
    wanted = np.linspace(rho[0], rho[-1], len(points))
    wanted = np.maximum(wanted, np.minimum(rho, 1.0))
    return BRAIN_CENTRE + (points - BRAIN_CENTRE) * (wanted / np.maximum(rho, 0.05))[:, None]


def lateral_point(front: float, up: float, level: float = 1.0) -> Points:
    """The point of the left convexity at (y, z) on the surface of relative depth `level`."""
    y, z = (np.array([front, up]) - BRAIN_CENTRE[1:]) / BRAIN_AXES[1:]
    inside = max(level**2 - y**2 - z**2, 0.02)
    return np.array([BRAIN_AXES[0] * np.sqrt(inside), front, up])


def jitter(rng: np.random.Generator, controls: Sequence[tuple[float, float, float]], sigma: float) -> Points:
    """Control points (K, 3), each displaced by a normal draw of `sigma` mm."""
    points = np.asarray(controls, float)
    noise = rng.normal(0, sigma, points.shape)
    return points + noise


def convexity_targets(rng: np.random.Generator, n: int) -> Points:
    """Points of the middle cerebral artery's territory on the lateral surface, evenly spread."""
    points: list[Points] = []
    while sum(map(len, points)) < n:
        ray = rng.normal(size=(3 * n, 3))
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        p = BRAIN_CENTRE + ray * BRAIN_AXES * rng.uniform(0.93, 1.0, (3 * n, 1))
        floor = np.where(p[:, 1] > 22, 0.0, np.where(p[:, 1] > -45, -24.0, -8.0 + 0.0 * p[:, 1]))
        keep = (p[:, 0] > 20) & (p[:, 2] > floor) & (p[:, 1] > -88) & (p[:, 1] < 56)
        keep &= p[:, 0] > 0.55 * (p[:, 2] - 38)
        points.append(p[keep])
    return np.concatenate(points)[:n]


def medial_targets(rng: np.random.Generator, n: int) -> Points:
    """Points of the anterior cerebral artery's territory on the medial surface and along the upper edge."""
    points: list[Points] = []
    while sum(map(len, points)) < n:
        y, z = rng.uniform(-68, 66, 4 * n), rng.uniform(-2, 90, 4 * n)
        x = np.where(rng.random(4 * n) < 0.8, rng.uniform(1.5, 6, 4 * n), rng.uniform(6, 20, 4 * n))
        p = np.stack([x, y, z], axis=1)
        rho = depth(p)
        above = ((y + 5) / 44) ** 2 + ((z - 16) / 36) ** 2 > 1
        keep = (rho < 0.98) & above & ((x < 6) | (rho > 0.9)) & ((y > 10) | (z > 30))
        points.append(p[keep])
    return np.concatenate(points)[:n]


def occipital_targets(rng: np.random.Generator, n: int) -> Points:
    """Points of the posterior cerebral artery's territory."""
    y, z = rng.uniform(-98, -50, n), rng.uniform(-12, 38, n)
    return np.stack([rng.uniform(3, 40, n), y, z], axis=1)
