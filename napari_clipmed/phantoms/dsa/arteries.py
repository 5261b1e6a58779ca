"""The injected carotid and everything beyond it: named trunks by reference size, cortical branches grown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.brain import (
    convexity_targets,
    jitter,
    lateral_point,
    medial_targets,
    occipital_targets,
    on_surface,
)
from napari_clipmed.phantoms.dsa.external_carotid import grow_external_carotid
from napari_clipmed.phantoms.dsa.tree import Points, Tree, TreeBuilder

GROWN = ("M4", "A4", "P4", "perforator", "ECA branch")


@dataclass(frozen=True)
class Division:
    """One division of the middle cerebral artery.

    Parameters
    ----------
    trunk : tuple of (x, y, z)
        Its course over the insula, beyond the bifurcation.
    branches : tuple
        For each cortical branch: where along the trunk it leaves (0…1), then (front, up) in mm of the
        points where it turns over the insula's edge, comes to the surface, and ends as a stem.
    """

    trunk: tuple[tuple[float, float, float], ...]
    branches: tuple[tuple[Any, ...], ...]


SUPERIOR = Division(
    trunk=((38, 5, 9), (40, -5, 16), (41, -18, 21), (41, -30, 23)),
    branches=(
        (0.18, (15, 15), (22, 8), (46, 26)),
        (0.26, (10, 22), (14, 13), (32, 54)),
        (0.45, (0, 26), (4, 15), (8, 72)),
        (0.62, (-12, 28), (-10, 17), (-20, 75)),
        (0.82, (-24, 28), (-24, 19), (-50, 64)),
        (1.0, (-36, 24), (-38, 20), (-72, 40)),
    ),
)
INFERIOR = Division(
    trunk=((38, -4, 6), (40, -14, 9), (41, -26, 13)),
    branches=(
        (1.0, (-36, 15), (-42, 13), (-80, 10)),
        (0.75, (-26, 8), (-30, 6), (-52, -12)),
        (0.4, (-10, 2), (-10, 0), (-20, -20)),
        (0.12, (6, -2), (10, -4), (20, -15)),
    ),
)


# Course of the carotid in mm: the neck up to the skull base, then the petrous and cavernous siphon.
NECK = ((25, -24, -150), (26, -23, -120), (25, -22, -92), (26, -22, -66), (25, -21, -52))
SIPHON = (
    (24, -18, -42),
    (18, -11, -39),
    (12, -9, -33),
    (11, -10, -24),
    (11, -1, -19),
    (11, 9, -17),
    (12, 13, -10),
    (12, 6, -6),
)
PERICALLOSAL = ((12, 10), (26, 20), (33, 33), (24, 43), (2, 50), (-24, 50), (-46, 42))
"""Its course in the midline: (front, up)."""

MEDIAL_BRANCHES: tuple[tuple[float, float, tuple[tuple[float, float, float], ...]], ...] = (
    (0.16, 0.45, ((2.5, 40, 2), (4, 58, 6))),
    (0.27, 0.5, ((2.5, 46, 20), (4, 60, 28))),
    (0.34, 0.68, ((3, 42, 44), (3.5, 26, 58), (3, -2, 66), (3, -26, 68))),
    (0.62, 0.4, ((3, 2, 64), (3, -4, 80))),
    (0.78, 0.42, ((3, -34, 58), (3, -52, 68))),
)
"""Of the anterior cerebral artery, the third being the callosomarginal: where along A2, radius, course."""


def grow_arteries(
    rng: np.random.Generator, n_leaves: int, variants: tuple[str, ...], common_carotid: bool = False
) -> Tree:
    """The arteries that one carotid fills, as on the left side.

    Parameters
    ----------
    rng : numpy Generator
        Source of every draw.
    n_leaves : int
        Cortical end branches.
    variants : tuple of str
        Normal variants, of `anatomy.VARIANTS`.
    common_carotid : bool
        Inject below the bifurcation, so that the external carotid fills too.
    """
    build = TreeBuilder(rng)
    tortuosity = float(rng.uniform(0.05, 0.11))
    fork = _carotid(rng, build, float(np.clip(rng.normal(2.45, 0.28), 1.8, 3.2)))
    lateral = _middle_cerebral(rng, build, fork, tortuosity)
    medial = _anterior_cerebral(rng, build, fork, "hypoplastic A1" in variants, tortuosity)
    _small_branches(rng, build)
    posterior = _posterior_communicating(rng, build, "fetal PCA" in variants)
    build.grow("M4", convexity_targets(rng, int(0.68 * n_leaves)), lateral, tortuosity, on_surface)
    build.grow("A4", medial_targets(rng, int(0.32 * n_leaves)), medial, tortuosity, _in_midline)
    if posterior is not None:
        build.grow("P4", occipital_targets(rng, n_leaves // 8), posterior, tortuosity)
    if "cross flow" in variants:
        _other_side(rng, build, n_leaves // 6, tortuosity)
    if common_carotid:
        grow_external_carotid(rng, build)
    return build.finish(GROWN, leaf_radius=float(rng.uniform(0.21, 0.28)))


def _in_midline(points: Points) -> Points:
    """Keep a path between the falx and the medial surface of the hemisphere."""
    return np.column_stack([np.clip(points[:, 0], 0.8, 9.0), points[:, 1:]])


def _carotid(rng: np.random.Generator, build: TreeBuilder, radius: float) -> int:
    """Neck, petrous bone, siphon and supraclinoid carotid, tapering by a quarter; gives its terminus."""
    neck, siphon = jitter(rng, NECK, 1.6), jitter(rng, SIPHON, 0.9)
    loop = rng.normal(0, 4.0)
    neck[1:3, :2] += [[loop, -loop], [-loop, loop]]
    siphon[[3, 5, 6], 1] *= rng.normal(1.0, 0.22)
    cervical = build.path("cervical ICA", np.vstack([neck, siphon[:1]]), (1.05 * radius, radius))
    cavernous = build.path("cavernous ICA", siphon[1:], (radius, 0.86 * radius), int(cervical[-1]))
    last = np.array([(12.5, 0.5, -4.5), (14.0, -1.0, 0.5)]) + rng.normal(0, 0.7, (2, 3))
    return int(build.path("supraclinoid ICA", last, (0.84 * radius, 0.73 * radius), int(cavernous[-1]))[-1])


def _middle_cerebral(
    rng: np.random.Generator, build: TreeBuilder, fork: int, tortuosity: float
) -> NDArray[np.int64]:
    """M1, its two divisions and their cortical branches; gives the nodes from which small ones may spring."""
    start = build.at(fork)
    end = start + [np.clip(rng.normal(21, 4), 14, 30), rng.normal(3, 2), rng.normal(1.5, 3.0)]
    bow = (start + end) / 2 + [0, rng.normal(2, 1.5), rng.normal(1, 1.8)]
    radius = float(np.clip(rng.normal(1.5, 0.15), 1.15, 1.9))
    m1 = build.path("M1", np.vstack([bow, end]), (radius, 0.86 * radius), fork, wiggle=0.8)
    m2_radius = float(np.clip(rng.normal(1.1, 0.12), 0.8, 1.35))
    balance = rng.uniform(0.85, 1.12)
    stems = []
    for division, width in ((SUPERIOR, m2_radius * balance), (INFERIOR, m2_radius * (1.9 - 0.95 * balance))):
        course = jitter(rng, division.trunk, 1.1)
        course[:, 0] += 0.5 * (end[0] - 36)
        trunk = build.path("M2", course, (width, 0.62 * width), int(m1[-1]), 0.5)
        for at, *route in division.branches:
            node = int(trunk[int(at * (len(trunk) - 1))])
            stems.append(_cortical_stem(rng, build, node, route, width * (1 - 0.3 * at), tortuosity))
    return np.concatenate(stems)


def _cortical_stem(
    rng: np.random.Generator,
    build: TreeBuilder,
    node: int,
    route: list[tuple[float, float]],
    width: float,
    tortuosity: float,
) -> NDArray[np.int64]:
    """One branch: up the insula (M2), around the operculum (M3), out and over the cortex (M4)."""
    (turn, rise, stop), shift = np.asarray(route, float), rng.normal(0, 2.5, 2)
    top = np.array([41 + rng.normal(0, 1.2), *(turn + 0.6 * shift)])
    halfway = (build.at(node) + top) / 2 + rng.normal(0, 1.8, 3)
    out = np.array([57 + rng.normal(0, 1.5), *(rise + shift)])
    between, end = 0.55 * rise + 0.45 * stop, stop + rng.normal(0, [5, 4])
    over = lateral_point(between[0], between[1], 0.97) + rng.normal(0, 2, 3)
    tip = lateral_point(end[0], end[1], 0.99)
    insular = build.path("M2", np.vstack([halfway, top]), (0.66 * width, 0.54 * width), node, 1.0)
    across = (top + out) / 2 + [0, 0, 1.5]
    opercular = build.path(
        "M3", np.vstack([across, out]), (0.52 * width, 0.48 * width), int(insular[-1]), 0.8
    )
    return build.path(
        "M4 stem",
        np.vstack([over, tip]),
        (0.47 * width, 0.3 * width),
        int(opercular[-1]),
        wiggle=34 * tortuosity,
        shape=on_surface,
    )


def _anterior_cerebral(
    rng: np.random.Generator, build: TreeBuilder, fork: int, hypoplastic: bool, tortuosity: float
) -> NDArray[np.int64]:
    """A1, the pericallosal artery and its branches; gives the nodes from which small ones may spring."""
    radius = float(np.clip(rng.normal(1.15, 0.15), 0.8, 1.5)) * (0.45 if hypoplastic else 1)
    communicating = np.array([1.6, 9.0, 2.0]) + rng.normal(0, [0.3, 1.5, 1.5])
    bow = (build.at(fork) + communicating) / 2 + [0, rng.normal(1, 1), rng.normal(1.5, 2)]
    a1 = build.path("A1", np.vstack([bow, communicating]), (radius, 0.9 * radius), fork, 0.4)
    aside = rng.normal(1.8, 0.5)
    course = jitter(rng, [(aside, front, up) for front, up in PERICALLOSAL], 1.3)
    course[:, 0] = aside
    course[2:5, 2] += rng.normal(0, 2.0)
    width = 0.6 if hypoplastic else 0.95
    a2 = build.path("A2", course, (width, 0.45 * width), int(a1[-1]), 14 * tortuosity)
    stems = [a2]
    for at, branch_radius, route in MEDIAL_BRANCHES:
        node = int(a2[int(at * len(a2))])
        points = np.asarray(route, float) + rng.normal(0, [0.3, 3, 3], (len(route), 3))
        taper = (branch_radius, 0.55 * branch_radius)
        stems.append(build.path("A3", points, taper, node, 16 * tortuosity, shape=_in_midline))
    return np.concatenate(stems)


def _small_branches(rng: np.random.Generator, build: TreeBuilder) -> None:
    """Ophthalmic, anterior choroidal and lenticulostriate arteries."""
    eye = jitter(rng, [(15, 18, -7), (20, 30, -7), (17, 44, -4), (14, 58, -2)], 1.2)
    build.path("ophthalmic", eye, (0.62, 0.3), int(build.named("cavernous ICA")[-3]), 0.8)
    supraclinoid = build.named("supraclinoid ICA")
    choroid = jitter(rng, [(16, -12, -2), (24, -22, 2), (28, -34, 8)], 1.2)
    build.path("AChA", choroid, (0.4, 0.22), int(supraclinoid[2 * len(supraclinoid) // 3]), 0.8)
    m1 = build.named("M1")
    for node in rng.choice(m1[len(m1) // 5 : -2], size=min(7, len(m1) - 4), replace=False):
        start = build.at(int(node))
        end = start + [rng.normal(3, 3), rng.normal(-4, 5), rng.uniform(16, 28)]
        bow = (start + end) / 2 + [rng.normal(5, 1.5), 0, -3]
        build.path("perforator", np.vstack([bow, end]), (0.25, 0.16), int(node), 0.8)


def _posterior_communicating(
    rng: np.random.Generator, build: TreeBuilder, fetal: bool
) -> NDArray[np.int64] | None:
    """The posterior communicating artery; where it is fetal, the posterior cerebral artery beyond it."""
    supraclinoid = build.named("supraclinoid ICA")
    width = (0.95, 0.9) if fetal else (0.5, 0.35)
    course = jitter(rng, [(11, -7, -5), (8, -16, -5)], 0.8)
    communicating = build.path("PComA", course, width, int(supraclinoid[len(supraclinoid) // 3]))
    if not fetal:
        return None
    beyond = jitter(rng, [(16, -24, -4), (20, -40, 0), (10, -62, 4), (7, -84, 8)], 1.8)
    return build.path("PCA", beyond, (0.9, 0.5), int(communicating[-1]), 1.4)


def _other_side(rng: np.random.Generator, build: TreeBuilder, n: int, tortuosity: float) -> None:
    """Contrast that crosses the anterior communicating artery into the other hemisphere's A2."""
    a2 = build.named("A2")
    course = np.array([build.at(int(node)) for node in a2[4 :: max(1, len(a2) // 7)]])
    course = course * [-1, 1, 1] + rng.normal(0, 0.8, 3)
    stem = build.path("A2 crossed", course, (0.75, 0.4), int(a2[1]), 1.0)
    build.grow("A4", medial_targets(rng, n) * [-1, 1, 1], stem, tortuosity)
