"""Infected areas with soft, ambiguous edges, and look-alikes that are no infection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from napari_clipmed.phantoms.cxr.anatomy import Field, Lungs, Mask, grid
from napari_clipmed.phantoms.cxr.sentences import SIDES, ZONES, Location


@dataclass(frozen=True, eq=False)
class Area:
    """One infected area.

    Parameters
    ----------
    opacity : (H, W) float32 array
        Added attenuation.
    mask : (H, W) bool array
        Where a reader would draw it: opacity above half of its plateau.
    side : str
        Side of the picture.
    texture : str
        "ground glass" or "consolidation".
    """

    opacity: Field
    mask: Mask
    side: str
    texture: str


def thirds(lungs: Lungs) -> dict[Location, Mask]:
    """Split each lung in three zones of equal height."""
    zones: dict[Location, Mask] = {}
    for side in SIDES:
        lung = lungs.side(side)
        rows = np.flatnonzero(lung.any(axis=1))
        edges = np.linspace(rows[0], rows[-1] + 1, 4)
        row = np.arange(lung.shape[0])[:, None]
        for zone, low, high in zip(ZONES, edges[:-1], edges[1:], strict=True):
            zones[side, zone] = lung & (row >= low) & (row < high)
    return zones


def locations_of(mask: Mask, lungs: Lungs, least_share: float = 0.10) -> list[Location]:
    """Zones that a mask occupies: those that hold at least a tenth of its area, or are a third full."""
    total = max(int(mask.sum()), 1)
    found = []
    for location, zone in thirds(lungs).items():
        inside = int((mask & zone).sum())
        if inside >= least_share * total or inside >= zone.sum() / 3:
            found.append(location)
    return found


def draw_areas(lungs: Lungs, n_areas: int, rng: np.random.Generator) -> list[Area]:
    """Draw separate infected areas, fewer than asked for where the lungs are full."""
    areas: list[Area] = []
    taken = np.zeros_like(lungs.left)
    spacing = lungs.left.shape[0] * 0.02
    for _ in range(n_areas * 4):
        if len(areas) == n_areas:
            break
        area = _draw_area(lungs, rng)
        if area is not None and not (_grown(area.mask, spacing) & taken).any():
            areas.append(area)
            taken |= area.mask
    return areas


def _draw_area(lungs: Lungs, rng: np.random.Generator) -> Area | None:
    size = lungs.left.shape[0]
    side = SIDES[int(rng.integers(2))]
    # Infection favours the bases and the periphery; the draw favours low rows.
    rows, columns = np.nonzero(lungs.side(side))
    weight = 0.3 + (rows - rows.min()) / max(np.ptp(rows), 1)
    seed = rng.choice(len(rows), p=weight / weight.sum())
    y, x = grid(size)
    centre_y, centre_x = y[rows[seed], 0], x[0, columns[seed]]
    height, width = rng.uniform(0.10, 0.34), rng.uniform(0.09, 0.24)
    blob = 1 - ((y - centre_y) / height) ** 2 - ((x - centre_x) / width) ** 2
    rough = _noise(rng, size, 0.035) * 0.55 + _noise(rng, size, 0.012) * 0.25
    shape = np.clip(blob + rough, 0, 1) * lungs.side(side)
    texture = "consolidation" if rng.random() < 0.4 else "ground glass"
    plateau = rng.uniform(0.55, 0.95) if texture == "consolidation" else rng.uniform(0.28, 0.55)
    soft = gaussian_filter(np.minimum(shape * 2.2, 1), size * rng.uniform(0.006, 0.018)) * lungs.side(side)
    mask = _largest(soft > 0.5)
    if mask.sum() < 0.0015 * size * size:
        return None
    patchy = 1 + (0.35 if texture == "ground glass" else 0.15) * _noise(rng, size, 0.02)
    keep = _grown(mask, size * 0.03)
    return Area((plateau * soft * patchy * keep).astype(np.float32), mask, side, texture)


def mimics(lungs: Lungs, rng: np.random.Generator) -> Field:
    """Lesion-free look-alikes: nipples, a skin fold, crossing vessels."""
    size = lungs.left.shape[0]
    y, x = grid(size)
    field = np.zeros((size, size), np.float32)
    if rng.random() < 0.35:
        for sign in (-1, 1):
            centre_y, centre_x = rng.normal(0.28, 0.04), sign * rng.normal(0.42, 0.04)
            field += 0.22 * (np.hypot(y - centre_y, x - centre_x) < rng.uniform(0.018, 0.03))
    if rng.random() < 0.25:
        offset, slope = rng.uniform(-0.3, 0.3), rng.uniform(-0.5, 0.5)
        field += (0.10 * (y > offset + slope * x)).astype(np.float32)
    return gaussian_filter(field, size * 0.003).astype(np.float32)


def _noise(rng: np.random.Generator, size: int, scale: float) -> NDArray[np.float32]:
    """Smooth noise of unit standard deviation; `scale` is the correlation length in picture widths."""
    # Drawn coarsely and interpolated by the blur: the pattern does not depend on the picture size.
    field = gaussian_filter(rng.standard_normal((size, size)).astype(np.float32), scale * size)
    return field / max(float(field.std()), 1e-6)


def _grown(mask: Mask, pixels: float) -> Mask:
    return gaussian_filter(mask.astype(np.float32), pixels / 2) > 0.02


def _largest(mask: Mask) -> Mask:
    parts, n_parts = label(mask)
    if n_parts < 2:
        return mask
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == 1 + int(np.argmax(sizes)))
