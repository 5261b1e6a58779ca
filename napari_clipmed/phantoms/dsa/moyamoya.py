"""Moyamoya disease by Suzuki's stages: the carotid fork closes, a basal net opens and fades again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_clipmed.phantoms.dsa.circulation import Circulation, Draw, Part
from napari_clipmed.phantoms.dsa.stenosis import narrowed
from napari_clipmed.phantoms.dsa.tree import meander, smooth_curve


@dataclass(frozen=True)
class Stage:
    """One of the stages of Suzuki and Takaku (1969), as this phantom draws it; the values are ours.

    Parameters
    ----------
    narrowing : float
        Stenosis of the terminal carotid, A1 and M1, per cent.
    delay_s : float
        By which the territory beyond fills later.
    flow : float
        Share of the normal filling that remains.
    net : float
        Richness of the basal net.
    """

    narrowing: float
    delay_s: float
    flow: float
    net: float


STAGES = {
    1: Stage(60, 0.2, 0.95, 0.18),
    2: Stage(72, 0.4, 0.85, 0.6),
    3: Stage(86, 0.8, 0.65, 1.0),
    4: Stage(96, 1.3, 0.35, 0.8),
    5: Stage(99, 1.8, 0.15, 0.45),
    6: Stage(99.5, 2.2, 0.04, 0.0),
}
"""In the sixth the net is gone and next to nothing fills; it is drawn only where it is asked for."""

SIXTH = 1.5
"""Severity that asks for it; severities of other stages run from 0 to 1."""


def moyamoya(draw: Draw) -> Circulation:
    """Narrow or closed fork, late patchy filling beyond it, wide small neighbours, the puff of smoke."""
    circulation, tree, rng = draw.healthy(), draw.anatomy.arteries, draw.rng
    number = 6 if draw.worse >= SIXTH else int(np.clip(1 + np.floor(5 * draw.worse), 1, 5))
    stage = STAGES[number]
    flow = stage.flow + draw.collaterals * (1 - stage.flow)
    fork = int(tree.named("supraclinoid ICA")[-1])
    m1, a1 = tree.named("M1"), tree.named("A1")
    percent = stage.narrowing + rng.uniform(-4, 1)
    radius = circulation.radius
    for node, half_mm in ((fork, 3.0), (int(m1[4]), 6.0), (int(a1[4]), 5.0)):
        radius, _ = narrowed(tree, radius, node, percent * rng.uniform(0.82, 1.0), half_mm)
    if number >= 4:
        radius[tree.named("supraclinoid ICA")] *= 0.6
    radius[tree.named("AChA", "PComA", "ophthalmic")] *= 1 + 0.1 * number
    beyond = tree.descendants(int(m1[1])) | tree.descendants(int(a1[1]))
    patchy = 0.6 + 0.4 * (1 + np.sin(tree.position @ rng.normal(0, 0.05, 3) + rng.uniform(0, 6)))
    circulation.radius = np.where(beyond, radius * (0.55 + 0.45 * flow), radius)
    delay = stage.delay_s * rng.uniform(0.7, 1.2)
    circulation.arrival = circulation.arrival + beyond * delay * patchy
    circulation.gain = circulation.gain * np.where(beyond, flow, 1)
    circulation.tissue_gain = 0.55 + 0.45 * flow
    net = _basal_net(draw, fork, float(circulation.arrival[fork]), stage.net * rng.uniform(0.7, 1.3))
    circulation.parts += net
    # Without a net the lesion is the closed fork itself.
    closed = tree.position[np.concatenate([tree.named("supraclinoid ICA")[-4:], m1[:4], a1[:4]])]
    circulation.lesion_points = np.concatenate([part.points for part in net]) if net else closed
    circulation.lesion_radius = np.full(len(circulation.lesion_points), 2.2)
    circulation.site, circulation.severity = "terminal ICA", {"stage": number}
    circulation.sentence = f"Moyamoya disease, Suzuki stage {number}, {draw.side} carotid fork."
    return circulation


def _basal_net(draw: Draw, fork: int, arrival_s: float, richness: float) -> list[Part]:
    """The "puff of smoke": fine winding vessels from the fork up into the basal ganglia."""
    rng, side, origin = draw.rng, draw.anatomy.side, draw.anatomy.arteries.position[fork]
    parts: list[Part] = []
    if richness <= 0:
        return parts
    wider, reach = np.sqrt(draw.net), 1 + 0.35 * (draw.net - 1)
    for _ in range(int(draw.net * (8 + int(80 * richness)))):
        start = origin + [side * rng.uniform(-6, 14), rng.normal(-3, 5), rng.normal(2, 1.5)]
        end = origin + np.array([side * rng.normal(8, 9), rng.normal(-6, 10), rng.uniform(8, 34)]) * reach
        middle = (start + end) / 2 + rng.normal(0, 3, 3)
        curve = smooth_curve(np.vstack([start, middle, end]), 0.9)
        curve = curve + meander(rng, len(curve), rng.uniform(2.0, 4.5))
        radius = wider * np.linspace(rng.uniform(0.18, 0.42), 0.13, len(curve))
        steps = np.linalg.norm(np.diff(curve, axis=0, prepend=curve[:1]), axis=1)
        travel = np.cumsum(steps) / (0.25 * draw.bolus.velocity_mm_s)
        arrival = arrival_s + 0.1 + travel + rng.uniform(0, 0.25)
        parts.append(Part("net", curve, radius, steps, arrival, gain=0.8, linger_s=0.5))
    return parts
