"""One simulated biplane study: the same tree, blood and unrest seen by two cameras."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.acquisition import (
    add_noise,
    draw_motion,
    misregistration,
    moved,
    slow_drift,
)
from napari_clipmed.phantoms.dsa.anatomy import BRAIN_CENTRE, Anatomy
from napari_clipmed.phantoms.dsa.config import Ambient
from napari_clipmed.phantoms.dsa.diseases import Circulation, circulate, side_name
from napari_clipmed.phantoms.dsa.haemodynamics import Bolus, draw_bolus
from napari_clipmed.phantoms.dsa.projection import Camera, look, render, render_blush, splat
from napari_clipmed.phantoms.dsa.skull import attenuation, draw_head

Frames = NDArray[np.float32]

IODINE_PER_MM = 0.1
"""Attenuation (natural logarithm) of a millimetre of undiluted contrast."""


@dataclass(frozen=True)
class Acquisition:
    """How the console was set; drawn alike for every class."""

    times_s: NDArray[np.float64]
    cameras: tuple[Camera, Camera]
    grey_per_log: float
    background: float
    noise: float
    drift: float
    heavy_motion: bool


@dataclass(frozen=True)
class Elements:
    """Everything that darkens, as balls of contrast with a concentration in every frame.

    Parameters
    ----------
    points, radius, mass : (N, 3), (N,), (N,) arrays
        Millimetres and cubic millimetres.
    concentration : (N, T) float32 array
        Relative to undiluted contrast.
    kind : (N,) array of str
        ``artery``, ``vein`` or ``lesion``.
    """

    points: NDArray[np.float64]
    radius: NDArray[np.float64]
    mass: NDArray[np.float64]
    concentration: NDArray[np.float32]
    kind: NDArray[np.str_]


@dataclass
class SimulatedView:
    """One plane of a study.

    Parameters
    ----------
    camera : Camera
        Its geometry.
    contrast : (T, H, W) float32 array
        Natural logarithm of the attenuation by contrast, motion included.
    subtracted : (T, H, W) float32 array
        Grey of the subtracted run, 0…1, dark vessels.
    body : (H, W) float32 array
        Attenuation of the patient, natural logarithm.
    lesion : (H, W) bool array
        Shadow of the lesion.
    visible : (T,) bool array
        Whether the lesion shows in each frame.
    """

    camera: Camera
    contrast: Frames
    subtracted: Frames
    body: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    motion_px: NDArray[np.float64]


@dataclass
class SimulatedStudy:
    """A study with its truth."""

    label: str
    side: str
    circulation: Circulation
    acquisition: Acquisition
    bolus: Bolus
    elements: Elements
    views: dict[str, SimulatedView] = field(default_factory=dict)


def draw_acquisition(rng: np.random.Generator, ambient: Ambient, anatomy: Anatomy, size: int) -> tuple[Acquisition, float]:
    """Console settings and the seconds before contrast arrives."""
    n = int(rng.integers(int(ambient.frames[0]), int(ambient.frames[1]) + 1))
    interval = rng.uniform(*ambient.interval_s)
    steps = np.full(n - 1, interval)
    if rng.random() < ambient.variable_rate_share:
        steps[int(n * rng.uniform(0.5, 0.8)) :] *= rng.uniform(1.3, 2.0)
    times = np.concatenate([[0.0], np.cumsum(steps)])
    close = rng.random() < ambient.close_field_share
    fields = rng.uniform(*(ambient.close_field_mm if close else ambient.field_mm), 2)
    tilt = rng.normal(*ambient.ap_tilt_mean_sd)
    facing = bool(rng.random() < 0.5)
    z = 8.0 + rng.normal(0, 7) + (6 if close else 0)
    side_shift = anatomy.side * (rng.uniform(8, 30) if close else rng.uniform(0, 10))
    cameras = (
        look("AP", rng.normal(0, 3), tilt, rng.normal(0, 2), False, np.array([side_shift, -15, z]), size, fields[0]),
        look(
            "LA",
            90 + rng.normal(0, ambient.lateral_tilt_sd),
            rng.normal(0, 2),
            rng.normal(0, 3),
            facing,
            np.array([0, BRAIN_CENTRE[1] + rng.normal(4, 7), z + rng.normal(0, 5)]),
            size,
            fields[1],
        ),
    )
    bright = rng.random() < ambient.bright_background_share
    gain = np.exp(rng.uniform(*np.log(ambient.grey_per_mm))) * rng.uniform(*ambient.contrast)
    acquisition = Acquisition(
        times_s=times,
        cameras=cameras,
        grey_per_log=float(gain / IODINE_PER_MM),
        background=float(rng.uniform(*(ambient.bright_background if bright else ambient.dim_background))),
        noise=float(rng.uniform(*ambient.noise)),
        drift=float(rng.uniform(*ambient.drift)),
        heavy_motion=bool(rng.random() < ambient.heavy_motion_share),
    )
    return acquisition, float(rng.uniform(*ambient.quiet_frames) * interval)


def simulate_study(
    anatomy: Anatomy, label: str, seed: int, ambient: Ambient, size: int = 224, severity: float | None = None
) -> SimulatedStudy:
    """One study of a patient.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    label : str
        Disease: Control, MMD, IA, AM or AS.
    seed : int
        Of the acquisition and the disease; the same arguments give the same study.
    ambient : Ambient
        Ranges of the acquisition.
    size : int
        Detector pixels along each side, a multiple of 4.
    severity : float, optional
        0 mild to 1 severe.
    """
    rng, ill = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    acquisition, quiet = draw_acquisition(rng, ambient, anatomy, size)
    bolus = draw_bolus(rng, quiet)
    circulation = circulate(label, anatomy, bolus, ill, severity)
    elements = gather(anatomy, circulation, bolus, acquisition.times_s, rng)
    tissue = _tissue(anatomy, circulation, bolus, acquisition.times_s, rng)
    study = SimulatedStudy(label, side_name(anatomy), circulation, acquisition, bolus, elements)
    head = draw_head(rng, anatomy.scale)
    motion = draw_motion(rng, acquisition.times_s, acquisition.heavy_motion)
    for camera in acquisition.cameras:
        still, jaw = attenuation(camera, head, rng)
        matrix = splat(camera, elements.points, elements.radius, elements.mass)
        thickness = render(matrix, elements.concentration, size)
        thickness += render_blush(camera, *tissue, spread_mm=5.0)
        shift = motion.head @ camera.axes[:2].T / camera.pixel_mm
        for t, (right, down) in enumerate(shift):
            if abs(right) + abs(down) > 0.25:
                thickness[t] = moved(thickness[t], right, down)
        contrast = IODINE_PER_MM * thickness
        log = contrast + misregistration(still, jaw, motion, camera.axes, camera.pixel_mm)
        log += slow_drift(rng, len(log), size, acquisition.drift)
        add_noise(rng, log, still + jaw, acquisition.noise)
        grey = np.clip(acquisition.background - acquisition.grey_per_log * log, 0, 1)
        lesion, visible = _lesion(camera, circulation, elements)
        study.views[camera.name] = SimulatedView(camera, contrast, grey, still + jaw, lesion, visible, shift)
    return study


def gather(
    anatomy: Anatomy, circulation: Circulation, bolus: Bolus, times_s: NDArray[np.float64], rng: np.random.Generator
) -> Elements:
    """All vessels as elements with their concentrations."""
    tree, veins = anatomy.arteries, anatomy.veins
    length = np.maximum(tree.edge_mm, 0.2)
    inner = tree.parent >= 0
    middle = np.where(inner[:, None], 0.5 * (tree.position + tree.position[np.maximum(tree.parent, 0)]), tree.position)
    arterial = bolus.curve(times_s, circulation.arrival, bolus.beta(circulation.arrival)) * circulation.gain[:, None]
    points, radius, mass = [middle], [circulation.radius], [np.pi * circulation.radius**2 * length]
    curves, kinds = [arterial.astype(np.float32)], [np.full(len(tree), "artery")]
    for part in circulation.parts:
        lags = -np.log1p(-(np.arange(6) + 0.5) / 6) * part.linger_s if part.linger_s else np.zeros(1)
        spread = bolus.beta(part.arrival) * (1.0 if part.linger_s == 0 else 1.1)
        curve = np.mean([bolus.curve(times_s, part.arrival + lag, spread) for lag in lags], axis=0) * part.gain
        points.append(part.points)
        radius.append(part.radius)
        mass.append(np.pi * part.radius**2 * part.length)
        curves.append(curve.astype(np.float32))
        kinds.append(np.full(len(part.points), "vein" if part.kind == "early vein" else "lesion"))
    start = float(np.mean(circulation.arrival[tree.leaves])) + bolus.transit_s
    travel = bolus.travel(veins)
    arrival = start + 0.45 * (travel.max() - travel) + 0.4 * np.sin(veins.position @ rng.normal(0, 0.04, 3))
    venous = bolus.curve(times_s, arrival, np.full(len(veins), 0.28) + bolus.beta_growth * arrival)
    points.append(veins.position)
    radius.append(veins.radius)
    mass.append(np.pi * veins.radius**2 * np.maximum(veins.edge_mm, 0.2))
    curves.append((0.38 * circulation.tissue_gain * venous).astype(np.float32))
    kinds.append(np.full(len(veins), "vein"))
    return Elements(
        np.concatenate(points), np.concatenate(radius), np.concatenate(mass), np.concatenate(curves), np.concatenate(kinds)
    )


def _tissue(
    anatomy: Anatomy, circulation: Circulation, bolus: Bolus, times_s: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Capillaries: blobs around and below the end branches, with their volume and concentration."""
    tree = anatomy.arteries
    leaves = tree.leaves
    leaves = leaves[~np.isin(tree.segment[leaves], ["ophthalmic", "PComA", "AChA"])]
    leaves = np.repeat(leaves, 3)
    inward = rng.uniform(0.62, 1.0, (len(leaves), 1))
    points = BRAIN_CENTRE + (tree.position[leaves] - BRAIN_CENTRE) * inward + rng.normal(0, 3.5, (len(leaves), 3))
    arrival = circulation.arrival[leaves] + rng.uniform(0.25, 0.6, len(leaves))
    spread = 1.3 * bolus.beta(arrival) + 0.22
    amount = circulation.gain[leaves] * circulation.tissue_gain
    volume = np.full(len(leaves), float(rng.uniform(5000, 11000)) / len(leaves)) * amount
    return points, volume, bolus.curve(times_s, arrival, spread)


def _lesion(
    camera: Camera, circulation: Circulation, elements: Elements
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Union mask of the lesion on the detector, and in which frames it shows."""
    size = camera.size
    if not len(circulation.lesion_points):
        return np.zeros((size, size), bool), np.zeros(elements.concentration.shape[1], bool)
    points, radius = circulation.lesion_points, circulation.lesion_radius
    matrix = splat(camera, points, radius, np.ones(len(points)))
    shadow = np.zeros(size * size, bool)
    shadow[matrix.indices] = True
    inside = elements.kind == "lesion"
    if not inside.any():
        gap = np.linalg.norm(elements.points[:, None] - points[None, :: max(1, len(points) // 8)], axis=2).min(1)
        inside = (gap < 4) & (elements.kind == "artery")
    curve = elements.concentration[inside].mean(0)
    return shadow.reshape(size, size), curve > 0.12
