"""The external carotid artery, which a common carotid injection fills as well: scalp, dura, face."""

from __future__ import annotations

import numpy as np

from napari_clipmed.phantoms.dsa.brain import jitter
from napari_clipmed.phantoms.dsa.tree import TreeBuilder

EXTERNAL = ("ECA", "ECA branch")
"""Its segments."""

# Trunk, and its branches: where along the trunk, radius, course in mm on the left side.
TRUNK = ((25, -10, -104), (29, -6, -84), (37, -9, -62), (44, -11, -48))
BRANCHES: tuple[tuple[str, float, float, tuple[tuple[float, float, float], ...]], ...] = (
    ("facial", 0.25, 0.9, ((30, 14, -98), (38, 42, -82), (26, 60, -56), (16, 62, -34))),
    ("occipital", 0.45, 0.8, ((38, -44, -56), (48, -82, -26), (38, -104, 14))),
    ("maxillary", 0.95, 1.0, ((36, 6, -46), (24, 26, -42), (18, 34, -34))),
    ("middle meningeal", 0.9, 0.6, ((36, 0, -30), (56, 4, -6), (62, -4, 34), (48, -22, 66))),
    ("superficial temporal", 1.0, 0.85, ((64, -12, -26), (72, -10, 10), (68, 8, 44))),
)


def grow_external_carotid(rng: np.random.Generator, build: TreeBuilder) -> None:
    """Add the external carotid artery and its branches, springing from the neck below the picture."""
    neck = build.named("cervical ICA")
    origin = int(neck[np.argmin([abs(build.at(int(node))[2] + 116) for node in neck])])
    trunk = build.path("ECA", jitter(rng, TRUNK, 1.5), (1.9, 1.2), origin, 0.8)
    stems = [trunk]
    for _, at, radius, course in BRANCHES:
        node = int(trunk[int(at * (len(trunk) - 1))])
        taper = (radius, 0.45 * radius)
        stems.append(build.path("ECA", jitter(rng, course, 2.5), taper, node, 2.5))
    targets = np.concatenate([jitter(rng, course[-2:] * 7, 13.0) for _, _, _, course in BRANCHES])
    build.grow("ECA branch", targets, np.concatenate(stems), 0.1)
