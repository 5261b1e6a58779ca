"""One patient's arteries and veins: named trunks, then branches grown over the brain's surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.tree import Points, Tree, TreeBuilder

BRAIN_CENTRE = np.array([0.0, -18.0, 24.0])
BRAIN_AXES = np.array([66.0, 84.0, 66.0])

GROWN_ARTERIES = ("M4", "A4", "P4", "perforator", "ECA branch")
GROWN_VEINS = ("cortical vein", "deep vein")


@dataclass(frozen=True)
class Division:
    """One division of the middle cerebral artery.

    Parameters
    ----------
    trunk : tuple of (x, y, z)
        Its course over the insula, beyond the bifurcation.
    branches : tuple
        For each cortical branch: where along the trunk it leaves (0…1), then (front, up) in mm of the point where
        it turns over the insula's edge, where it comes to the surface, and where its stem ends.
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


@dataclass(frozen=True)
class Anatomy:
    """One patient: both trees and the draws that shaped them.

    Parameters
    ----------
    side : int
        +1 for the patient's left, -1 for the right: the injected carotid.
    arteries, veins : Tree
        The arterial tree is rooted in the neck, the venous one at the jugular bulb.
    scale : (3,) array
        Head size relative to the reference, along x, y, z.
    variants : tuple of str
        Normal variants present.
    """

    side: int
    arteries: Tree
    veins: Tree
    scale: NDArray[np.float64]
    variants: tuple[str, ...]


def grow_anatomy(rng: np.random.Generator, n_leaves: int = 420) -> Anatomy:
    """Draw one patient.

    Parameters
    ----------
    rng : numpy Generator
        Source of every draw.
    n_leaves : int
        Cortical end branches of the injected hemisphere.
    """
    side = int(rng.choice([-1, 1]))
    variants = tuple(
        name
        for name, share in (("fetal PCA", 0.2), ("hypoplastic A1", 0.1), ("cross flow", 0.25), ("infundibulum", 0.08))
        if rng.random() < share
    )
    arteries = _arteries(rng, n_leaves, variants)
    veins = _veins(rng, n_leaves // 2)
    scale = rng.normal(1.0, 0.04, 3).clip(0.9, 1.1)
    for tree in (arteries, veins):
        tree.position = tree.position * scale * np.array([side, 1, 1])
    return Anatomy(side, arteries, veins, scale, variants)


def depth(points: Points) -> NDArray[np.float64]:
    """0 at the brain's centre, 1 on its surface. (N, 3) to (N,)."""
    return np.linalg.norm((points - BRAIN_CENTRE) / BRAIN_AXES, axis=1)


def on_surface(points: Points) -> Points:
    """Slide the inner points of a path so that their depth goes evenly from the first's to the last's."""
    rho = depth(points)
    wanted = np.linspace(rho[0], rho[-1], len(points))
    wanted = np.maximum(wanted, np.minimum(rho, 1.0))
    return BRAIN_CENTRE + (points - BRAIN_CENTRE) * (wanted / np.maximum(rho, 0.05))[:, None]


def _in_midline(points: Points) -> Points:
    out = points.copy()
    out[:, 0] = np.clip(out[:, 0], 0.8, 9.0)
    return out


def lateral_point(front: float, up: float, level: float = 1.0) -> Points:
    """The point of the left convexity at (y, z) on the surface of relative depth `level`."""
    y, z = (np.array([front, up]) - BRAIN_CENTRE[1:]) / BRAIN_AXES[1:]
    inside = max(level**2 - y**2 - z**2, 0.02)
    return np.array([BRAIN_AXES[0] * np.sqrt(inside), front, up])


def _jitter(rng: np.random.Generator, controls: list[tuple[float, ...]], sigma: float) -> Points:
    points = np.asarray(controls, float)
    noise = rng.normal(0, sigma, points.shape)
    return points + noise


def _carotid(rng: np.random.Generator, build: TreeBuilder, r: float) -> NDArray[np.int64]:
    """Neck, petrous bone, siphon and supraclinoid carotid; gives the node of its terminus and others."""
    loop = rng.normal(0, 4.0)
    neck = _jitter(
        rng,
        [(25, -24, -150), (26 + loop, -23 - loop, -120), (25 - loop, -22 + loop, -92), (26, -22, -66), (25, -21, -52)],
        1.6,
    )
    open_siphon = rng.normal(1.0, 0.22)
    siphon = _jitter(
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
    return build.path("supraclinoid ICA", np.vstack([start, middle, end]), (0.84 * r, 0.73 * r), int(cavernous[-1]))


def _middle_cerebral(rng: np.random.Generator, build: TreeBuilder, fork: int, tortuosity: float) -> NDArray[np.int64]:
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
            _cortical_stem(rng, build, int(trunk[int(at * (len(trunk) - 1))]), stem, width * (1 - 0.3 * at), tortuosity)
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
    """One branch: up the insula (M2), around the operculum (M3), out of the fissure and over the cortex (M4)."""
    (turn, rise, stop), shift = np.asarray(route, float), rng.normal(0, 2.5, 2)
    hub = build.positions()[node]
    at = np.array([41 + rng.normal(0, 1.2), *(turn + 0.6 * shift)])
    out = np.array([57 + rng.normal(0, 1.5), *(rise + shift)])
    over = lateral_point(*(0.55 * rise + 0.45 * stop), 0.97) + rng.normal(0, 2, 3)
    tip = lateral_point(*(stop + rng.normal(0, [5, 4])), 0.99)
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
    peri = _jitter(
        rng,
        [(1.8, 12, 10), (1.8, 26, 20), (1.8, 33, 33 + lift), (1.8, 24, 43 + lift), (1.8, 2, 50 + lift), (1.8, -24, 50), (1.8, -46, 42)],
        1.3,
    )
    peri[:, 0] = rng.normal(1.8, 0.5)
    a2_radius = 0.95 if "hypoplastic A1" not in variants else 0.6
    a2 = build.path("A2", np.vstack([build.positions()[a1[-1]], peri]), (a2_radius, 0.45 * a2_radius), int(a1[-1]), 14 * tortuosity)
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
            build.path("A3", np.vstack([start, route_points]), (r, 0.55 * r), node, 16 * tortuosity, shape=_in_midline)
        )
    return np.concatenate(stems)


def _small_branches(
    rng: np.random.Generator, build: TreeBuilder, variants: tuple[str, ...], parts: dict[str, NDArray[np.int64]]
) -> NDArray[np.int64] | None:
    """Ophthalmic, posterior communicating, anterior choroidal and lenticulostriate arteries."""
    where = build.positions
    eye = int(parts["cavernous"][-3])
    build.path(
        "ophthalmic",
        np.vstack([where()[eye], _jitter(rng, [(15, 18, -7), (20, 30, -7), (17, 44, -4), (14, 58, -2)], 1.2)]),
        (0.62, 0.3),
        eye,
        0.8,
    )
    supra = parts["supraclinoid"]
    back = int(supra[len(supra) // 3])
    fetal = "fetal PCA" in variants
    pcom = build.path(
        "PComA",
        np.vstack([where()[back], _jitter(rng, [(11, -7, -5), (8, -16, -5)], 0.8)]),
        (0.95, 0.9) if fetal else (0.5, 0.35),
        back,
    )
    choroid = int(supra[(2 * len(supra)) // 3])
    build.path(
        "AChA", np.vstack([where()[choroid], _jitter(rng, [(16, -12, -2), (24, -22, 2), (28, -34, 8)], 1.2)]), (0.4, 0.22), choroid, 0.8
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
    route = _jitter(rng, [(16, -24, -4), (20, -40, 0), (10, -62, 4), (7, -84, 8)], 1.8)
    return build.path("PCA", np.vstack([start, route]), (0.9, 0.5), int(pcom[-1]), 1.4)


def _arteries(rng: np.random.Generator, n_leaves: int, variants: tuple[str, ...]) -> Tree:
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
    cortex = _convexity_targets(rng, int(n_leaves * 0.68))
    build.grow("M4", cortex, mca[1:], tortuosity, on_surface)
    medial = _medial_targets(rng, int(n_leaves * 0.32))
    build.grow("A4", medial, aca, tortuosity, _in_midline)
    if pca is not None:
        build.grow("P4", _occipital_targets(rng, n_leaves // 8), pca, tortuosity)
    if "cross flow" in variants:
        _other_side(rng, build, n_leaves // 6, tortuosity)
    return build.finish(GROWN_ARTERIES, leaf_radius=float(rng.uniform(0.21, 0.28)))


def _other_side(rng: np.random.Generator, build: TreeBuilder, n: int, tortuosity: float) -> None:
    """Contrast that crosses the anterior communicating artery into the other hemisphere's A2."""
    segment = np.concatenate(build._segment)
    a2 = np.flatnonzero(segment == "A2")
    route = build.positions()[a2[4:]] * [-1, 1, 1] + rng.normal(0, 0.8, 3)
    route = route[:: max(1, len(route) // 7)]
    start = build.positions()[a2[1]]
    stem = build.path("A2 crossed", np.vstack([start, route]), (0.75, 0.4), int(a2[1]), 1.0)
    targets = _medial_targets(rng, n) * [-1, 1, 1]
    build.grow("A4", targets, stem, tortuosity)


def _convexity_targets(rng: np.random.Generator, n: int) -> Points:
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


def _medial_targets(rng: np.random.Generator, n: int) -> Points:
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


def _occipital_targets(rng: np.random.Generator, n: int) -> Points:
    y, z = rng.uniform(-98, -50, n), rng.uniform(-12, 38, n)
    return np.stack([rng.uniform(3, 40, n), y, z], axis=1)


def _veins(rng: np.random.Generator, n_leaves: int) -> Tree:
    """Superior sagittal, straight, transverse and sigmoid sinus; cortical and deep veins."""
    build = TreeBuilder(rng)
    bulb = [(30, -36, -62), (32, -38, -44), (43, -46, -36), (48, -62, -28), (38, -86, -20), (14, -100, -10), (2, -103, 0)]
    drain_right = rng.random() < 0.65
    outlet = _jitter(rng, bulb, 1.2)
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
    opposite = build.path("transverse sinus", np.vstack([torcula, other[::-1]]), (1.6, 2.0), int(transverse[-1]))
    stems = [sinus[len(sinus) // 8 :]]
    for along in np.linspace(0.22, 0.92, int(rng.integers(6, 9))) + rng.normal(0, 0.02, 1):
        node = int(sinus[min(int(along * len(sinus)), len(sinus) - 2)])
        start = build.positions()[node]
        low_y = 0.75 * (start[1] + 18) - 18 + rng.normal(4, 6)
        tip = lateral_point(low_y, rng.uniform(10, 34), 1.0)
        mid = lateral_point(0.5 * (start[1] + low_y) + rng.normal(-3, 4), 0.5 * (start[2] + tip[2]) + 14, 1.0)
        stem = build.path(
            "cortical vein stem", np.vstack([start, mid, tip]), (1.15, 0.5), node, wiggle=2.0, shape=on_surface
        )
        stems.append(stem)
    labbe = int(transverse[-24] if drain_right else opposite[22])
    tip = lateral_point(-12, 8, 1.0)
    route = np.vstack([build.positions()[labbe], lateral_point(-55, -12, 0.98), lateral_point(-32, -2, 1.0), tip])
    stems.append(build.path("cortical vein stem", route, (1.2, 0.5), labbe, 1.5))
    build.grow("cortical vein", _convexity_targets(rng, n_leaves), np.concatenate(stems), 0.09, on_surface)
    return build.finish(GROWN_VEINS, leaf_radius=0.24)
