"""Everything that darkens in a study, as balls and blobs of contrast with a concentration in every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.anatomy import Anatomy
from napari_clipmed.phantoms.dsa.brain import BRAIN_CENTRE
from napari_clipmed.phantoms.dsa.circulation import Circulation, Part
from napari_clipmed.phantoms.dsa.external_carotid import EXTERNAL
from napari_clipmed.phantoms.dsa.haemodynamics import Bolus

FloatArray = NDArray[np.float64]

LINGER_STEPS = 6
"""Delays that stand for the exponential wash-out of a lesion."""

VENOUS_SHARE = 0.38
"""Contrast in the veins after its mixing with blood from elsewhere."""


@dataclass(frozen=True)
class Elements:
    """All vessels of a study.

    Parameters
    ----------
    points, along : (N, 3) arrays
        Centres in mm, and the extent from end to end.
    radius, mass : (N,) arrays
        Millimetres, cubic millimetres.
    arrival : (N,) array
        Seconds from the injection's start until contrast arrives.
    concentration : (N, T) float32 array
        Relative to undiluted contrast.
    kind : (N,) array of str
        ``artery``, ``vein``, ``early vein``, or a lesion's part (``aneurysm``, ``nidus``, ``net``…).
    """

    points: FloatArray
    along: FloatArray
    radius: FloatArray
    mass: FloatArray
    arrival: FloatArray
    concentration: NDArray[np.float32]
    kind: NDArray[np.str_]

    @property
    def shapes(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Centres, radii, volumes and extents: what `splat` wants."""
        return self.points, self.radius, self.mass, self.along


@dataclass(frozen=True)
class Tissue:
    """Capillary blush: blob centres (N, 3), volumes (N,) in mm³, concentrations (N, T)."""

    points: FloatArray
    volume: FloatArray
    concentration: NDArray[np.float32]


def gather_elements(
    anatomy: Anatomy,
    circulation: Circulation,
    bolus: Bolus,
    times_s: FloatArray,
    rng: np.random.Generator,
) -> Elements:
    """Arteries, the disease's own vessels and veins, with their concentrations at `times_s` (T,)."""
    blocks = [
        _arteries(anatomy, circulation, bolus, times_s),
        *_parts(circulation.parts, bolus, times_s),
        _veins(anatomy, circulation, bolus, times_s, rng),
    ]
    return Elements(
        *(
            np.concatenate([getattr(block, name) for block in blocks])
            for name in ("points", "along", "radius", "mass", "arrival", "concentration", "kind")
        )
    )


def _cylinders(radius: FloatArray, length: FloatArray) -> FloatArray:
    return np.pi * radius**2 * np.maximum(length, 0.2)


def _arteries(anatomy: Anatomy, circulation: Circulation, bolus: Bolus, times_s: FloatArray) -> Elements:
    tree = anatomy.arteries
    curve = bolus.curve(times_s, circulation.arrival, bolus.beta(circulation.arrival))
    return Elements(
        tree.position - 0.5 * tree.edge,
        tree.edge,
        circulation.radius,
        _cylinders(circulation.radius, tree.edge_mm),
        circulation.arrival,
        (curve * circulation.gain[:, None]).astype(np.float32),
        np.full(len(tree), "artery"),
    )


def _parts(parts: list[Part], bolus: Bolus, times_s: FloatArray) -> list[Elements]:
    """The parts, all of one kind and wash-out together: a nidus has hundreds."""
    groups: dict[tuple[str, float, float], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.kind, part.linger_s, part.gain), []).append(part)
    blocks = []
    for (kind, linger, gain), members in groups.items():
        points, radius, length, arrival = (
            np.concatenate([getattr(part, name) for part in members])
            for name in ("points", "radius", "length", "arrival")
        )
        along = np.concatenate([part.along for part in members])
        shares = (np.arange(LINGER_STEPS) + 0.5) / LINGER_STEPS
        delays = -np.log1p(-shares) * linger if linger else np.zeros(1)
        spread = bolus.beta(arrival)
        curve = gain * np.mean([bolus.curve(times_s, arrival + delay, spread) for delay in delays], axis=0)
        mass = np.pi * radius**2 * length
        blocks.append(
            Elements(
                points, along, radius, mass, arrival, curve.astype(np.float32), np.full(len(points), kind)
            )
        )
    return blocks


def _veins(
    anatomy: Anatomy, circulation: Circulation, bolus: Bolus, times_s: FloatArray, rng: np.random.Generator
) -> Elements:
    veins = anatomy.veins
    start = float(np.mean(circulation.arrival[anatomy.arteries.leaves])) + bolus.transit_s
    travel = bolus.travel(veins)
    uneven = 0.4 * np.sin(veins.position @ rng.normal(0, 0.04, 3))
    arrival = start + 0.45 * (travel.max() - travel) + uneven
    curve = bolus.curve(times_s, arrival, 0.28 + bolus.beta_growth * arrival)
    return Elements(
        veins.position - 0.5 * veins.edge,
        veins.edge,
        veins.radius,
        _cylinders(veins.radius, veins.edge_mm),
        arrival,
        (VENOUS_SHARE * circulation.tissue_gain * curve).astype(np.float32),
        np.full(len(veins), "vein"),
    )


def gather_tissue(
    anatomy: Anatomy, circulation: Circulation, bolus: Bolus, times_s: FloatArray, rng: np.random.Generator
) -> Tissue:
    """Capillaries around and below the end branches; the blush fades where flow is stolen or blocked."""
    tree = anatomy.arteries
    leaves = tree.leaves
    leaves = leaves[~np.isin(tree.segment[leaves], [*EXTERNAL, "ophthalmic", "PComA", "AChA"])]
    leaves = np.repeat(leaves, 3)
    inward = rng.uniform(0.62, 1.0, (len(leaves), 1))
    points = BRAIN_CENTRE + (tree.position[leaves] - BRAIN_CENTRE) * inward
    points = points + rng.normal(0, 3.5, points.shape)
    arrival = circulation.arrival[leaves] + rng.uniform(0.25, 0.6, len(leaves))
    spread = 1.3 * bolus.beta(arrival) + 0.22
    share = circulation.gain[leaves] * circulation.tissue_gain
    volume = rng.uniform(3000, 8500) / len(leaves) * share
    return Tissue(points, volume, bolus.curve(times_s, arrival, spread))
