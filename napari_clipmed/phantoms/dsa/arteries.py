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
from napari_clipmed.phantoms.dsa.tree import Points, Tree, TreeBuilder

GROWN = ("M4", "A4", "P4", "perforator")


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


def _in_midline(points: Points) -> Points:
    out = points.copy()
    out[:, 0] = np.clip(out[:, 0], 0.8, 9.0)
    return out


def _carotid(rng: np.random.Generator, build: TreeBuilder, r: float) -> NDArray[np.int64]:
    """Neck, petrous bone, siphon and supraclinoid carotid; gives the node of its terminus and others."""
    loop = rng.normal(0, 4.0)
    neck = jitter(
        rng,
        [
            (25, -24, -150),
            (26 + loop, -23 - loop, -120),
            (25 - loop, -22 + loop, -92),
            (26, -22, -66),
            (25, -21, -52),
        ],
        1.6,
    )
    open_siphon = rng.normal(1.0, 0.22)
    siphon = jitter(
        rng,
        [
            (24, -18, -42),
            (18, -11, -39),
            (12, -9, -33),
            (11, -10 * open_siphon, -24),
            (11, -1, -19),
            (11, 9 * open_siphon, -17),
            (12, 13 * open_siphon, -10),
            (12, 6, -6),
        ],
        0.9,
    )
    cervical = build.path("cervical ICA", np.concatenate([neck, siphon[:1]]), (1.05 * r, r))
    start = build.positions()[cervical[-1]]
    cavernous = build.path("cavernous ICA", np.vstack([start, siphon[1:]]), (r, 0.86 * r), int(cervical[-1]))
    start = build.positions()[cavernous[-1]]
    end = np.array([14.0, -1.0, 0.5]) + rng.normal(0, 0.8, 3)
    middle = np.array([12.5, 0.5, -4.5]) + rng.normal(0, 0.6, 3)
    return build.path(
        "supraclinoid ICA", np.vstack([start, middle, end]), (0.84 * r, 0.73 * r), int(cavernous[-1])
    )


def _middle_cerebral(
    rng: np.random.Generator, build: TreeBuilder, fork: int, tortuosity: float
) -> NDArray[np.int64]:
    position = build.positions()[fork]
    length = float(np.clip(rng.normal(21, 4), 14, 30))
    lift = rng.normal(1.5, 3.0)
    end = position + [length, rng.normal(3, 2), lift]
    mid = (position + end) / 2 + [0, rng.normal(2, 1.5), rng.normal(1, 1.8)]
    radius = float(np.clip(rng.normal(1.5, 0.15), 1.15, 1.9))
    m1 = build.path("M1", np.vstack([position, mid, end]), (radius, 0.86 * radius), fork, wiggle=0.8)
    base = build.positions()[m1[-1]]
    m2_radius = float(np.clip(rng.normal(1.1, 0.12), 0.8, 1.35))
    stems = [m1[-1:]]
    balance = rng.uniform(0.85, 1.12)
    for division, width in ((SUPERIOR, m2_radius * balance), (INFERIOR, m2_radius * (2 - balance) * 0.95)):
        route = np.asarray(division.trunk, float) + rng.normal(0, 1.1, (len(division.trunk), 3))
        route[:, 0] += 0.5 * (base[0] - 36)
        trunk = build.path("M2", np.vstack([base, route]), (width, 0.62 * width), int(m1[-1]), 0.5)
        stems += [
            _cortical_stem(
                rng, build, int(trunk[int(at * (len(trunk) - 1))]), stem, width * (1 - 0.3 * at), tortuosity
            )
            for at, *stem in division.branches
        ]
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
    hub = build.positions()[node]
    at = np.array([41 + rng.normal(0, 1.2), *(turn + 0.6 * shift)])
    out = np.array([57 + rng.normal(0, 1.5), *(rise + shift)])
    between = 0.55 * rise + 0.45 * stop
    over = lateral_point(between[0], between[1], 0.97) + rng.normal(0, 2, 3)
    end = stop + rng.normal(0, [5, 4])
    tip = lateral_point(end[0], end[1], 0.99)
    halfway = (hub + at) / 2 + rng.normal(0, 1.8, 3)
    insular = build.path("M2", np.vstack([hub, halfway, at]), (0.66 * width, 0.54 * width), node, 1.0)
    start = build.positions()[insular[-1]]
    across = (start + out) / 2 + [0, 0, 1.5]
    opercular = build.path(
        "M3", np.vstack([start, across, out]), (0.52 * width, 0.48 * width), int(insular[-1]), 0.8
    )
    start = build.positions()[opercular[-1]]
    return build.path(
        "M4 stem",
        np.vstack([start, over, tip]),
        (0.47 * width, 0.3 * width),
        int(opercular[-1]),
        wiggle=34 * tortuosity,
        shape=on_surface,
    )


def _anterior_cerebral(
    rng: np.random.Generator, build: TreeBuilder, fork: int, variants: tuple[str, ...], tortuosity: float
) -> NDArray[np.int64]:
    position = build.positions()[fork]
    radius = float(np.clip(rng.normal(1.15, 0.15), 0.8, 1.5))
    if "hypoplastic A1" in variants:
        radius *= 0.45
    acoma = np.array([1.6, 9.0, 2.0]) + rng.normal(0, [0.3, 1.5, 1.5])
    bow = (position + acoma) / 2 + [0, rng.normal(1, 1), rng.normal(1.5, 2)]
    a1 = build.path("A1", np.vstack([position, bow, acoma]), (radius, 0.9 * radius), fork, 0.4)
    lift = rng.normal(0, 2.0)
    peri = jitter(
        rng,
        [
            (1.8, 12, 10),
            (1.8, 26, 20),
            (1.8, 33, 33 + lift),
            (1.8, 24, 43 + lift),
            (1.8, 2, 50 + lift),
            (1.8, -24, 50),
            (1.8, -46, 42),
        ],
        1.3,
    )
    peri[:, 0] = rng.normal(1.8, 0.5)
    a2_radius = 0.95 if "hypoplastic A1" not in variants else 0.6
    a2 = build.path(
        "A2",
        np.vstack([build.positions()[a1[-1]], peri]),
        (a2_radius, 0.45 * a2_radius),
        int(a1[-1]),
        14 * tortuosity,
    )
    stems = [a2]
    for at, route, r in (
        (0.16, [(2.5, 40, 2), (4, 58, 6)], 0.45),
        (0.27, [(2.5, 46, 20), (4, 60, 28)], 0.5),
        (0.34, [(3, 42, 44), (3.5, 26, 58), (3, -2, 66), (3, -26, 68)], 0.68),
        (0.62, [(3, 2, 64), (3, -4, 80)], 0.4),
        (0.78, [(3, -34, 58), (3, -52, 68)], 0.42),
    ):
        node = int(a2[int(at * len(a2))])
        start = build.positions()[node]
        route_points = np.asarray(route, float) + rng.normal(0, [0.3, 3, 3], (len(route), 3))
        stems.append(
            build.path(
                "A3",
                np.vstack([start, route_points]),
                (r, 0.55 * r),
                node,
                16 * tortuosity,
                shape=_in_midline,
            )
        )
    return np.concatenate(stems)


def _small_branches(
    rng: np.random.Generator,
    build: TreeBuilder,
    variants: tuple[str, ...],
    parts: dict[str, NDArray[np.int64]],
) -> NDArray[np.int64] | None:
    """Ophthalmic, posterior communicating, anterior choroidal and lenticulostriate arteries."""
    where = build.positions
    eye = int(parts["cavernous"][-3])
    build.path(
        "ophthalmic",
        np.vstack([where()[eye], jitter(rng, [(15, 18, -7), (20, 30, -7), (17, 44, -4), (14, 58, -2)], 1.2)]),
        (0.62, 0.3),
        eye,
        0.8,
    )
    supra = parts["supraclinoid"]
    back = int(supra[len(supra) // 3])
    fetal = "fetal PCA" in variants
    pcom = build.path(
        "PComA",
        np.vstack([where()[back], jitter(rng, [(11, -7, -5), (8, -16, -5)], 0.8)]),
        (0.95, 0.9) if fetal else (0.5, 0.35),
        back,
    )
    choroid = int(supra[(2 * len(supra)) // 3])
    build.path(
        "AChA",
        np.vstack([where()[choroid], jitter(rng, [(16, -12, -2), (24, -22, 2), (28, -34, 8)], 1.2)]),
        (0.4, 0.22),
        choroid,
        0.8,
    )
    m1 = parts["M1"]
    for node in rng.choice(m1[len(m1) // 5 : -2], size=min(7, len(m1) - 4), replace=False):
        start = where()[node]
        end = start + [rng.normal(3, 3), rng.normal(-4, 5), rng.uniform(16, 28)]
        mid = (start + end) / 2 + [rng.normal(5, 1.5), 0, -3]
        build.path("perforator", np.vstack([start, mid, end]), (0.25, 0.16), int(node), 0.8)
    if not fetal:
        return None
    start = where()[pcom[-1]]
    route = jitter(rng, [(16, -24, -4), (20, -40, 0), (10, -62, 4), (7, -84, 8)], 1.8)
    return build.path("PCA", np.vstack([start, route]), (0.9, 0.5), int(pcom[-1]), 1.4)


def grow_arteries(rng: np.random.Generator, n_leaves: int, variants: tuple[str, ...]) -> Tree:
    build = TreeBuilder(rng)
    tortuosity = float(rng.uniform(0.05, 0.11))
    radius = float(np.clip(rng.normal(2.45, 0.28), 1.8, 3.2))
    supra = _carotid(rng, build, radius)
    fork = int(supra[-1])
    mca = _middle_cerebral(rng, build, fork, tortuosity)
    names = np.concatenate(build._segment)
    parts = {
        "supraclinoid": supra,
        "cavernous": np.flatnonzero(names == "cavernous ICA"),
        "M1": np.flatnonzero(names == "M1"),
    }
    aca = _anterior_cerebral(rng, build, fork, variants, tortuosity)
    pca = _small_branches(rng, build, variants, parts)
    cortex = convexity_targets(rng, int(n_leaves * 0.68))
    build.grow("M4", cortex, mca[1:], tortuosity, on_surface)
    medial = medial_targets(rng, int(n_leaves * 0.32))
    build.grow("A4", medial, aca, tortuosity, _in_midline)
    if pca is not None:
        build.grow("P4", occipital_targets(rng, n_leaves // 8), pca, tortuosity)
    if "cross flow" in variants:
        _other_side(rng, build, n_leaves // 6, tortuosity)
    return build.finish(GROWN, leaf_radius=float(rng.uniform(0.21, 0.28)))


def _other_side(rng: np.random.Generator, build: TreeBuilder, n: int, tortuosity: float) -> None:
    """Contrast that crosses the anterior communicating artery into the other hemisphere's A2."""
    segment = np.concatenate(build._segment)
    a2 = np.flatnonzero(segment == "A2")
    route = build.positions()[a2[4:]] * [-1, 1, 1] + rng.normal(0, 0.8, 3)
    route = route[:: max(1, len(route) // 7)]
    start = build.positions()[a2[1]]
    stem = build.path("A2 crossed", np.vstack([start, route]), (0.75, 0.4), int(a2[1]), 1.0)
    targets = medial_targets(rng, n) * [-1, 1, 1]
    build.grow("A4", targets, stem, tortuosity)
