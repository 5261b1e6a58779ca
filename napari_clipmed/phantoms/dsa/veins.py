"""Superior sagittal, straight, transverse and sigmoid sinus, with the cortical and deep veins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.brain import (
    BRAIN_AXES,
    BRAIN_CENTRE,
    convexity_targets,
    jitter,
    lateral_point,
    on_surface,
)
from napari_clipmed.phantoms.dsa.tree import Tree, TreeBuilder

GROWN = ("cortical vein", "deep vein")


# Course of the outflow on the left, from the jugular bulb to the confluence of the sinuses, in mm.
OUTFLOW = (
    (30, -36, -62),
    (32, -38, -44),
    (43, -46, -36),
    (48, -62, -28),
    (38, -86, -20),
    (14, -100, -10),
    (2, -103, 0),
)
DEEP = ((1, -42, 24), (2.5, -20, 26), (3, 2, 22))
"""Great vein of Galen and internal cerebral vein."""


def grow_veins(rng: np.random.Generator, n_leaves: int) -> Tree:
    """The veins that drain the injected side, as on the left; rooted at the jugular bulb, grown upstream.

    Parameters
    ----------
    rng : numpy Generator
        Source of every draw.
    n_leaves : int
        Cortical venules.
    """
    build = TreeBuilder(rng)
    outflow = jitter(rng, OUTFLOW, 1.2)
    same_side = rng.random() < 0.65
    mirror = np.array([-1, 1, 1])
    main = outflow if same_side else outflow * mirror
    transverse = build.path("transverse sinus", main, (2.7, 2.8))
    confluence = int(transverse[-1])
    angle = np.deg2rad(np.linspace(180, 22, 9))
    vault = np.stack([np.zeros(9), np.cos(angle), np.sin(angle)], axis=1)
    course = BRAIN_CENTRE + 1.03 * BRAIN_AXES * vault + [rng.normal(0, 0.6), 0, 0]
    sagittal = build.path("sagittal sinus", course, (2.7, 1.0), confluence)
    straight = build.path("straight sinus", np.array([(0, -80, 4), (0, -52, 20)]), (1.9, 1.7), confluence)
    deep = build.path("deep vein stem", jitter(rng, DEEP, 0.4), (1.4, 0.6), int(straight[-1]))
    build.grow("deep vein", rng.uniform([8, -40, 8], [30, 20, 40], (18, 3)), deep, 0.08)
    lesser = (main * mirror)[2:-1][::-1] + rng.normal(0, 1.0, 3)
    opposite = build.path("transverse sinus", lesser, (1.6, 2.0), confluence)
    stems = [sagittal[len(sagittal) // 8 :], *_bridging_veins(rng, build, sagittal)]
    labbe = int(transverse[-24] if same_side else opposite[22])
    course = np.vstack([lateral_point(-55, -12, 0.98), lateral_point(-32, -2), lateral_point(-12, 8)])
    stems.append(build.path("cortical vein stem", course, (1.2, 0.5), labbe, 1.5))
    build.grow("cortical vein", convexity_targets(rng, n_leaves), np.concatenate(stems), 0.11, on_surface)
    return build.finish(GROWN, leaf_radius=0.24)


def _bridging_veins(
    rng: np.random.Generator, build: TreeBuilder, sagittal: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Superficial veins that climb the convexity, the hind ones slanting forward as they enter the sinus."""
    stems = []
    n = int(rng.integers(6, 9))
    for along in np.linspace(0.22, 0.92, n) + rng.normal(0, 0.025, n):
        node = int(sagittal[int(np.clip(along, 0.1, 0.97) * (len(sagittal) - 1))])
        start = build.at(node)
        front = 0.75 * (start[1] + 18) - 18 + rng.normal(4, 6)
        tip = lateral_point(front, rng.uniform(6, 36))
        middle = lateral_point(
            0.5 * (start[1] + front) + rng.normal(-3, 5), 0.5 * (start[2] + tip[2]) + rng.normal(13, 3)
        )
        width = float(rng.uniform(0.85, 1.3))
        stems.append(
            build.path(
                "cortical vein stem",
                np.vstack([middle, tip]),
                (width, 0.45 * width),
                node,
                wiggle=float(rng.uniform(2.0, 5.0)),
                shape=on_surface,
            )
        )
    return stems
