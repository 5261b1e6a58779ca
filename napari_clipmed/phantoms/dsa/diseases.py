"""What each disease does to vessels and flow: Control, MMD, IA, AM, AS."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.anatomy import Anatomy, lateral_point
from napari_clipmed.phantoms.dsa.haemodynamics import Bolus
from napari_clipmed.phantoms.dsa.tree import Points, Tree, meander, smooth_curve

FloatArray = NDArray[np.float64]

LABELS = ("Control", "MMD", "IA", "AM", "AS")

ANEURYSM_SITES = {"PComA": 0.28, "AComA": 0.27, "MCA bifurcation": 0.25, "ophthalmic": 0.1, "terminus": 0.1}
STENOSIS_SITES = {
    "M1": 0.36,
    "cavernous ICA": 0.16,
    "supraclinoid ICA": 0.16,
    "cervical ICA": 0.12,
    "M2": 0.12,
    "A1": 0.08,
}
NIDUS_SITES = {"frontal": 0.28, "parietal": 0.28, "temporal": 0.2, "occipital": 0.09, "deep": 0.15}


def _choose(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))


@dataclass(frozen=True)
class Part:
    """Vessels outside the tree: an aneurysm's dome, a nidus, a basal net, an early vein."""

    kind: str
    points: Points
    radius: FloatArray
    length: FloatArray
    arrival: FloatArray
    gain: float = 1.0
    linger_s: float = 0.0
    scattered: bool = False

    @property
    def along(self) -> Points:
        """From each point's predecessor; 0 at the first, and where points are scattered. Shape (K, 3)."""
        if self.scattered:
            return np.zeros_like(self.points)
        return np.diff(self.points, axis=0, prepend=self.points[:1])


@dataclass
class Circulation:
    """The tree as the disease leaves it, and what the disease adds.

    Parameters
    ----------
    radius, arrival, gain : (N,) arrays
        Of the arterial nodes: millimetres, seconds after the root, and share of undiluted contrast.
    parts : list of Part
        Added vessels.
    lesion_points, lesion_radius : (K, 3), (K,) arrays
        Balls whose shadow is the lesion mask; none for Control.
    site : str
        Where it is.
    severity : dict
        How bad: ``stage``, ``diameter_mm``, ``nidus_mm`` or ``stenosis_percent``.
    sentence : str
        The report's conclusion.
    tissue_gain : float
        Relative strength of the capillary blush.
    """

    radius: FloatArray
    arrival: FloatArray
    gain: FloatArray
    parts: list[Part] = field(default_factory=list)
    lesion_points: Points = field(default_factory=lambda: np.zeros((0, 3)))
    lesion_radius: FloatArray = field(default_factory=lambda: np.zeros(0))
    site: str = ""
    severity: dict[str, float | int | str] = field(default_factory=dict)
    sentence: str = "No cerebrovascular disease."
    tissue_gain: float = 1.0


def circulate(
    label: str,
    anatomy: Anatomy,
    bolus: Bolus,
    rng: np.random.Generator,
    severity: float | None = None,
    site: str | None = None,
) -> Circulation:
    """The circulation of one patient with one disease.

    Parameters
    ----------
    label : str
        One of `LABELS`.
    anatomy, bolus
        The patient and the injection.
    rng : numpy Generator
        Source of the draws of site, severity and shape.
    severity : float, optional
        0 mild to 1 severe; drawn if not given.
    site : str, optional
        Where; drawn if not given. Control and moyamoya disease have no choice.
    """
    worse = float(rng.beta(1.3, 1.0))
    worse = worse if severity is None else severity
    match label:
        case "Control":
            return _control(anatomy, bolus, rng)
        case "MMD":
            return _moyamoya(anatomy, bolus, rng, worse)
        case "IA":
            return _aneurysm(anatomy, bolus, rng, worse, site)
        case "AM":
            return _malformation(anatomy, bolus, rng, worse, site)
        case "AS":
            return _stenosis(anatomy, bolus, rng, worse, site)
    raise ValueError(f"{label!r} is none of {', '.join(LABELS)}")


def _healthy(anatomy: Anatomy, bolus: Bolus) -> Circulation:
    tree = anatomy.arteries
    gain = np.ones(len(tree))
    gain[np.isin(tree.segment, ["A2 crossed"])] = 0.7
    return Circulation(tree.radius.copy(), bolus.travel(tree), gain)


def side_name(anatomy: Anatomy) -> str:
    """``"left"`` or ``"right"``: the injected side, the patient's."""
    return "left" if anatomy.side > 0 else "right"


def _control(anatomy: Anatomy, bolus: Bolus, rng: np.random.Generator) -> Circulation:
    circulation = _healthy(anatomy, bolus)
    if "infundibulum" in anatomy.variants:
        node = int(anatomy.arteries.named("PComA")[0])
        near = anatomy.arteries.position[[node]] + rng.normal(0, 0.2, (1, 3))
        circulation.parts.append(_ball("infundibulum", near[0], float(rng.uniform(0.8, 1.3)), circulation.arrival[node], rng, 0.0))
    variants = f" Normal variants: {', '.join(anatomy.variants)}." if anatomy.variants else ""
    circulation.sentence = f"Normal {side_name(anatomy)} internal carotid angiogram, no cerebrovascular disease.{variants}"
    return circulation


def _ball(
    kind: str, centre: Points, radius: float, arrival: float, rng: np.random.Generator, linger_s: float
) -> Part:
    """An irregular ball of contrast, filling from its neck."""
    n = int(np.clip(60 * radius, 60, 420))
    ray = rng.normal(size=(n, 3))
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    lobes = rng.normal(0, 1, (3, 3))
    bulge = 1 + 0.16 * np.tanh(ray @ lobes.T).sum(1) / 1.7
    points = centre + ray * (radius * 0.86 * bulge * rng.random(n) ** (1 / 3))[:, None]
    each = np.full(n, max(0.22 * radius, 0.25))
    volume = 4 / 3 * np.pi * radius**3 / n
    return Part(kind, points, each, volume / (np.pi * each**2), np.full(n, arrival + 0.05), 1.0, linger_s, scattered=True)


def _aneurysm(
    anatomy: Anatomy, bolus: Bolus, rng: np.random.Generator, worse: float, site: str | None
) -> Circulation:
    circulation = _healthy(anatomy, bolus)
    tree = anatomy.arteries
    site = site or _choose(rng, ANEURYSM_SITES)
    node, outward = {
        "PComA": (int(tree.named("PComA")[0]), np.array([0.1, -0.9, -0.4])),
        "AComA": (int(tree.named("A1")[-1]), np.array([-0.35, 0.7, 0.6])),
        "MCA bifurcation": (int(tree.named("M1")[-1]), np.array([0.9, 0.15, 0.3])),
        "ophthalmic": (int(tree.named("ophthalmic")[0]), np.array([-0.5, 0.2, 0.85])),
        "terminus": (int(tree.named("supraclinoid ICA")[-1]), np.array([0.1, -0.2, 1.0])),
    }[site]
    diameter = float(2.0 + 10.0 * worse ** 1.3)
    outward = outward * [anatomy.side, 1, 1] + rng.normal(0, 0.3, 3)
    outward /= np.linalg.norm(outward)
    radius = diameter / 2
    centre = tree.position[node] + outward * (circulation.radius[node] * 0.8 + radius * 0.85)
    neck_linger = float(rng.uniform(0.35, 1.1) * (0.6 + 0.08 * diameter))
    circulation.parts.append(_ball("aneurysm", centre, radius, circulation.arrival[node], rng, neck_linger))
    if diameter > 5 and rng.random() < 0.4:
        off = rng.normal(size=3)
        off *= 0.9 * radius / np.linalg.norm(off)
        circulation.parts.append(_ball("aneurysm", centre + off, 0.4 * radius, circulation.arrival[node], rng, neck_linger))
    circulation.lesion_points, circulation.lesion_radius = centre[None], np.array([radius])
    circulation.site, circulation.severity = site, {"diameter_mm": round(diameter, 1)}
    circulation.sentence = f"Saccular {diameter:.0f} mm aneurysm of the {side_name(anatomy)} {site}."
    return circulation


def _narrow(
    tree: Tree, radius: FloatArray, node: int, percent: float, half_mm: float, dilate: float
) -> tuple[FloatArray, FloatArray]:
    """Radii with a focal stenosis centred on `node`, and a post-stenotic dilatation beyond it."""
    along = tree.accumulate(tree.edge_mm)
    up = tree.path_to_root(node)
    beyond = tree.descendants(node)
    relation = beyond.copy()
    relation[up] = True
    where = np.where(relation, along - along[node], 1e3)
    reference = radius[node]
    close = np.abs(where) < 3.5 * half_mm
    profile = np.exp(-0.5 * (where / half_mm) ** 4)
    target = radius - percent / 100 * profile * np.minimum(radius, reference)
    bulge = 1 + dilate * np.exp(-0.5 * ((where - 3.2 * half_mm) / (1.2 * half_mm)) ** 2) * (where > 0)
    return np.where(close | (where < 900), np.maximum(target, 0.06) * bulge, radius), profile


def _stenosis(
    anatomy: Anatomy, bolus: Bolus, rng: np.random.Generator, worse: float, site: str | None
) -> Circulation:
    tree = anatomy.arteries
    circulation = _healthy(anatomy, bolus)
    site = site or _choose(rng, STENOSIS_SITES)
    nodes = tree.named(site)
    if site == "cervical ICA":
        nodes = nodes[tree.position[nodes, 2] > -80]
    span = nodes[len(nodes) // 4 : max(len(nodes) // 4 + 1, (3 * len(nodes)) // 4)] if site != "M2" else nodes[2:9]
    node = int(rng.choice(span))
    percent = 50 + 45 * worse
    half = float(rng.uniform(1.5, 3.5) * np.sqrt(circulation.radius[node] / 1.5))
    dilate = float(rng.uniform(0.0, 0.3))
    circulation.radius, profile = _narrow(tree, circulation.radius, node, percent, half, dilate)
    beyond = tree.descendants(node)
    hold = max(0.0, (percent - 55) / 40) ** 1.5
    circulation.arrival = circulation.arrival + beyond * hold * rng.uniform(0.5, 1.6)
    circulation.gain = circulation.gain * np.where(beyond, 1 - 0.45 * hold, 1)
    shown = profile > 0.5
    if not shown.any():
        shown[node] = True
    shown[np.abs(np.arange(len(tree)) - node) > 12] = False
    shown[node] = True
    circulation.lesion_points = tree.position[shown]
    circulation.lesion_radius = np.maximum(tree.radius[shown], 0.8) * 1.25
    circulation.site, circulation.severity = site, {"stenosis_percent": round(percent), "length_mm": round(2 * half, 1)}
    circulation.sentence = f"Focal {percent:.0f} % stenosis of the {side_name(anatomy)} {site}, without a basal net."
    return circulation


def _moyamoya(anatomy: Anatomy, bolus: Bolus, rng: np.random.Generator, worse: float) -> Circulation:
    tree = anatomy.arteries
    circulation = _healthy(anatomy, bolus)
    stage = int(np.clip(1 + np.floor(5 * worse), 1, 5))
    end = int(tree.named("supraclinoid ICA")[-1])
    narrowing = {1: 60, 2: 72, 3: 86, 4: 96, 5: 99}[stage] + rng.uniform(-4, 1)
    radius = circulation.radius
    for node, half in ((end, 3.0), (int(tree.named("M1")[4]), 6.0), (int(tree.named("A1")[4]), 5.0)):
        share = narrowing * (rng.uniform(0.8, 1.0) if node != end else rng.uniform(0.85, 1.0))
        radius, _ = _narrow(tree, radius, node, share, half, 0.0)
    if stage >= 4:
        radius[tree.named("supraclinoid ICA")] *= 0.6
    beyond = tree.descendants(int(tree.named("M1")[1])) | tree.descendants(int(tree.named("A1")[1]))
    hold = {1: 0.2, 2: 0.4, 3: 0.8, 4: 1.3, 5: 1.8}[stage] * rng.uniform(0.7, 1.2)
    gain = {1: 0.95, 2: 0.85, 3: 0.65, 4: 0.35, 5: 0.15}[stage]
    circulation.radius = np.where(beyond, radius * (0.55 + 0.45 * gain), radius)
    patchy = 0.5 + 0.5 * np.sin(tree.position @ rng.normal(0, 0.05, 3) + rng.uniform(0, 6))
    circulation.arrival = circulation.arrival + beyond * hold * (0.6 + 0.8 * patchy)
    circulation.gain = circulation.gain * np.where(beyond, gain, 1)
    circulation.radius[tree.named("AChA", "PComA", "ophthalmic")] *= 1 + 0.1 * stage
    fork = tree.position[end]
    richness = {1: 0.18, 2: 0.6, 3: 1.0, 4: 0.8, 5: 0.45}[stage] * rng.uniform(0.7, 1.3)
    net = _basal_net(anatomy, fork, circulation.arrival[end], rng, richness, bolus)
    circulation.parts += net
    points = np.concatenate([p.points for p in net])
    circulation.lesion_points = points
    circulation.lesion_radius = np.full(len(points), 2.2)
    circulation.site, circulation.severity = "terminal ICA", {"stage": stage}
    circulation.tissue_gain = 0.55 + 0.45 * gain
    circulation.sentence = f"Moyamoya disease, Suzuki stage {stage}, {side_name(anatomy)} carotid fork."
    return circulation


def _basal_net(
    anatomy: Anatomy, fork: Points, arrival: float, rng: np.random.Generator, richness: float, bolus: Bolus
) -> list[Part]:
    """The "puff of smoke": fine winding vessels from the fork up into the basal ganglia."""
    parts = []
    for _ in range(int(80 * richness) + 8):
        spread = rng.normal(0, [9, 10, 3])
        start = fork + [anatomy.side * rng.uniform(-6, 14), rng.normal(-3, 5), rng.normal(2, 1.5)]
        end = fork + [anatomy.side * 8 + spread[0], -6 + spread[1], rng.uniform(8, 34)]
        middle = (start + end) / 2 + rng.normal(0, 3, 3)
        curve = smooth_curve(np.vstack([start, middle, end]), 0.9)
        curve = curve + meander(rng, len(curve), rng.uniform(2.0, 4.5))
        radius = np.linspace(rng.uniform(0.18, 0.42), 0.13, len(curve))
        steps = np.linalg.norm(np.diff(curve, axis=0, prepend=curve[:1]), axis=1)
        travel = np.cumsum(steps / (0.25 * bolus.velocity_mm_s))
        parts.append(Part("net", curve, radius, steps, arrival + 0.1 + travel + rng.uniform(0, 0.25), 0.8, 0.5))
    return parts


def _malformation(
    anatomy: Anatomy, bolus: Bolus, rng: np.random.Generator, worse: float, site: str | None
) -> Circulation:
    tree = anatomy.arteries
    size = float(10 + 40 * worse**1.2)
    site = site or _choose(rng, NIDUS_SITES)
    centre = _nidus_centre(site, anatomy, rng, size)
    reach = np.linalg.norm(tree.position - centre, axis=1)
    order = np.argsort(reach)
    feeders: list[NDArray[np.int64]] = []
    for node in order[:400]:
        if len(feeders) >= 1 + int(size > 18) + int(size > 32):
            break
        path = tree.path_to_root(int(node))
        if all(len(np.intersect1d(path[:12], f)) == 0 for f in feeders):
            feeders.append(path)
    on_path = np.zeros(len(tree), bool)
    for path in feeders:
        on_path[path] = True
    far = ~np.isin(tree.segment, ["cervical ICA", "cavernous ICA", "supraclinoid ICA"])
    swell = 1 + 0.45 * min(size / 30, 1.3)
    circulation = _healthy(anatomy, bolus)
    widened = np.maximum(tree.radius * swell, 0.45 + 0.45 * min(size / 30, 1.4))
    circulation.radius = np.where(on_path & far, widened, tree.radius)
    circulation.arrival = bolus.travel(tree, np.where(on_path, 1.3 + size / 60, 1.0))
    circulation.gain = circulation.gain * np.where(on_path, 1.0, np.where(far, 1 - 0.3 * min(size / 40, 1), 1.0))
    arrival = float(min(circulation.arrival[p[0]] for p in feeders))
    nidus = _nidus(centre, size, arrival, rng)
    links = [
        _link("feeder", tree.position[p[0]], centre, circulation.radius[p[0]], circulation.arrival[p[0]], bolus, rng) for p in feeders
    ]
    veins = _early_veins(anatomy, centre, size, arrival + float(rng.uniform(0.15, 0.4)), bolus, rng)
    circulation.parts += nidus + links + veins
    points = np.concatenate([p.points for p in nidus])
    circulation.lesion_points, circulation.lesion_radius = points, np.full(len(points), 1.8)
    circulation.site, circulation.severity = site, {"nidus_mm": round(size)}
    circulation.tissue_gain = 1 - 0.35 * min(size / 40, 1)
    circulation.sentence = f"{size:.0f} mm {side_name(anatomy)} {site} arteriovenous malformation with an early draining vein."
    return circulation


def _nidus_centre(site: str, anatomy: Anatomy, rng: np.random.Generator, size: float) -> Points:
    front, up = {
        "frontal": (rng.normal(28, 9), rng.normal(45, 9)),
        "parietal": (rng.normal(-38, 10), rng.normal(55, 9)),
        "temporal": (rng.normal(-12, 11), rng.normal(-6, 5)),
        "occipital": (rng.normal(-76, 6), rng.normal(18, 9)),
        "deep": (rng.normal(-8, 7), rng.normal(20, 6)),
    }[site]
    level = 0.45 if site == "deep" else 0.97 - 0.45 * size / 132
    if site == "deep":
        point = np.array([rng.uniform(12, 26), front, up])
    else:
        point = lateral_point(front, up, level)
        point[0] *= rng.uniform(0.35, 1.0) if site in {"frontal", "parietal"} else rng.uniform(0.75, 1.0)
    return point * anatomy.scale * np.array([anatomy.side, 1, 1])


def _nidus(centre: Points, size: float, arrival: float, rng: np.random.Generator) -> list[Part]:
    """Tangled vessels that fill an irregular ball of diameter `size` mm."""
    parts, axes = [], size / 2 * rng.uniform(0.75, 1.1, 3)
    for _ in range(int(8 + 0.06 * size**2)):
        n = int(rng.uniform(18, 40))
        heading = rng.normal(size=3)
        turns = np.cumsum(rng.normal(0, 0.75, (n, 3)), axis=0) + heading
        turns /= np.linalg.norm(turns, axis=1, keepdims=True)
        offset = rng.normal(size=3)
        offset *= rng.random() ** 0.6 / np.linalg.norm(offset)
        walk = offset + np.cumsum(turns, axis=0) * 1.1 / axes
        far = np.linalg.norm(walk, axis=1, keepdims=True)
        walk = walk / np.maximum(far, 1) ** 1.3
        points = centre + walk * axes
        radius = np.full(n, rng.uniform(0.3, 0.42 + 0.008 * size))
        start = arrival + np.abs(rng.normal(0.05, 0.12))
        parts.append(Part("nidus", points, radius, np.full(n, 1.1), start + np.linspace(0, 0.15, n), 1.0, 0.25))
    return parts


def _link(
    kind: str, start: Points, end: Points, radius: float, arrival: float, bolus: Bolus, rng: np.random.Generator
) -> Part:
    middle = (start + end) / 2 + rng.normal(0, 0.12 * np.linalg.norm(end - start) + 0.5, 3)
    curve = smooth_curve(np.vstack([start, middle, end + rng.normal(0, 0.5, 3)]), 1.0)
    curve = curve + meander(rng, len(curve), 0.06 * np.linalg.norm(end - start))
    steps = np.linalg.norm(np.diff(curve, axis=0, prepend=curve[:1]), axis=1)
    times = arrival + np.cumsum(steps) / (0.7 * bolus.velocity_mm_s)
    return Part(kind, curve, np.full(len(curve), radius), steps, times, 1.0, 0.0)


def _early_veins(
    anatomy: Anatomy, centre: Points, size: float, arrival: float, bolus: Bolus, rng: np.random.Generator
) -> list[Part]:
    """Dilated veins from the nidus to the nearest stem or sinus and on to the neck, filled already in the arterial phase."""
    veins = anatomy.veins
    trunks = veins.named("sagittal sinus", "deep vein stem", "straight sinus", "transverse sinus", "cortical vein stem")
    near = trunks[np.argsort(np.linalg.norm(veins.position[trunks] - centre, axis=1))]
    parts: list[Part] = []
    width = float(np.clip(rng.uniform(1.1, 1.7) + size / 30, 1.2, 3.2))
    wanted = 1 + int(size > 28 and rng.random() < 0.6)
    for node in near[:: max(1, len(near) // 6)][:wanted]:
        link = _link("early vein", centre, veins.position[node], width, arrival, bolus, rng)
        path = veins.path_to_root(int(node))
        along = np.cumsum(veins.edge_mm[path])
        start = float(link.arrival[-1])
        radius = np.maximum(veins.radius[path] * 0.9, width * 0.9)
        fade = Part("early vein", veins.position[path], radius, veins.edge_mm[path], start + along / (0.5 * bolus.velocity_mm_s), 0.6, 0.3)
        parts += [Part("early vein", link.points, link.radius * rng.uniform(0.9, 1.25), link.length, link.arrival, 0.85, 0.25), fade]
    return parts
