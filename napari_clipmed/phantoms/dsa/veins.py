"""Superior sagittal, straight, transverse and sigmoid sinus, with the cortical and deep veins."""

from __future__ import annotations

import numpy as np

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


def grow_veins(rng: np.random.Generator, n_leaves: int) -> Tree:
    """Superior sagittal, straight, transverse and sigmoid sinus; cortical and deep veins."""
    build = TreeBuilder(rng)
    bulb = [
        (30, -36, -62),
        (32, -38, -44),
        (43, -46, -36),
        (48, -62, -28),
        (38, -86, -20),
        (14, -100, -10),
        (2, -103, 0),
    ]
    drain_right = rng.random() < 0.65
    outlet = jitter(rng, bulb, 1.2)
    if not drain_right:
        outlet[:, 0] *= -1
    transverse = build.path("transverse sinus", outlet, (2.7, 2.8))
    torcula = build.positions()[transverse[-1]]
    sagittal_angles = np.deg2rad(np.linspace(197, 22, 10))
    sagittal = np.stack(
        [
            np.zeros(10) + rng.normal(0, 0.5),
            BRAIN_CENTRE[1] + BRAIN_AXES[1] * 1.03 * np.cos(sagittal_angles),
            BRAIN_CENTRE[2] + BRAIN_AXES[2] * 1.03 * np.sin(sagittal_angles),
        ],
        axis=1,
    )
    sinus = build.path("sagittal sinus", np.vstack([torcula, sagittal[1:]]), (2.7, 1.0), int(transverse[-1]))
    straight = build.path(
        "straight sinus", np.vstack([torcula, [0, -80, 4], [0, -52, 20]]), (1.9, 1.7), int(transverse[-1])
    )
    galen = build.path(
        "deep vein stem",
        np.vstack([[0, -52, 20], [1, -42, 24], [2.5, -20, 26], [3, 2, 22]]) + rng.normal(0, 0.4, 3),
        (1.4, 0.6),
        int(straight[-1]),
    )
    deep_targets = rng.uniform([8, -40, 8], [30, 20, 40], (18, 3))
    build.grow("deep vein", deep_targets, galen, 0.08)
    other = outlet[2:-1] * [-1, 1, 1] + rng.normal(0, 1.0, 3)
    opposite = build.path(
        "transverse sinus", np.vstack([torcula, other[::-1]]), (1.6, 2.0), int(transverse[-1])
    )
    stems = [sinus[len(sinus) // 8 :]]
    for along in np.linspace(0.22, 0.92, int(rng.integers(6, 9))) + rng.normal(0, 0.02, 1):
        node = int(sinus[min(int(along * len(sinus)), len(sinus) - 2)])
        start = build.positions()[node]
        low_y = 0.75 * (start[1] + 18) - 18 + rng.normal(4, 6)
        tip = lateral_point(low_y, rng.uniform(10, 34), 1.0)
        mid = lateral_point(0.5 * (start[1] + low_y) + rng.normal(-3, 4), 0.5 * (start[2] + tip[2]) + 14, 1.0)
        stem = build.path(
            "cortical vein stem",
            np.vstack([start, mid, tip]),
            (1.15, 0.5),
            node,
            wiggle=2.0,
            shape=on_surface,
        )
        stems.append(stem)
    labbe = int(transverse[-24] if drain_right else opposite[22])
    tip = lateral_point(-12, 8, 1.0)
    route = np.vstack(
        [build.positions()[labbe], lateral_point(-55, -12, 0.98), lateral_point(-32, -2, 1.0), tip]
    )
    stems.append(build.path("cortical vein stem", route, (1.2, 0.5), labbe, 1.5))
    build.grow("cortical vein", convexity_targets(rng, n_leaves), np.concatenate(stems), 0.09, on_surface)
    return build.finish(GROWN, leaf_radius=0.24)
