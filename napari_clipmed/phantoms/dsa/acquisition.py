"""What the machine and the patient's unrest add: motion, noise, drift, and the grey scale of the console."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.config import Ambient
from napari_clipmed.phantoms.dsa.projection import IODINE_PER_MM, Camera, enlarge, look

Frames = NDArray[np.float32]


READ_NOISE = 12.0
"""Standard deviation of the detector's own noise, in photons."""


@dataclass(frozen=True)
class Acquisition:
    """How the console was set; drawn alike for every class.

    Parameters
    ----------
    times_s : (T,) array
        Seconds from the first frame.
    cameras : (Camera, Camera)
        AP and LA.
    grey_per_log : float
        Grey of the subtracted run for a unit of attenuation's logarithm.
    background : float
        Grey where nothing changed.
    photons : float
        Mean count in a pixel of median attenuation.
    drift : float
        Strength of the gain's wandering.
    heavy_motion : bool
        Whether the patient was restless.
    """

    times_s: NDArray[np.float64]
    cameras: tuple[Camera, Camera]
    grey_per_log: float
    background: float
    photons: float
    drift: float
    heavy_motion: bool


def draw_acquisition(
    rng: np.random.Generator, ambient: Ambient, side: int, size: int
) -> tuple[Acquisition, float]:
    """Console settings, and the seconds before contrast arrives."""
    n = int(rng.integers(int(ambient.frames[0]), int(ambient.frames[1]) + 1))
    interval = rng.uniform(*ambient.interval_s)
    steps = np.full(n - 1, interval)
    if rng.random() < ambient.variable_rate_share:
        steps[int(n * rng.uniform(0.5, 0.8)) :] *= rng.uniform(1.3, 2.0)
    bright = rng.random() < ambient.bright_background_share
    per_mm = np.exp(rng.uniform(*np.log(ambient.grey_per_mm))) * rng.uniform(*ambient.contrast)
    acquisition = Acquisition(
        times_s=np.concatenate([[0.0], np.cumsum(steps)]),
        cameras=_draw_cameras(rng, ambient, side, size),
        grey_per_log=float(per_mm / IODINE_PER_MM),
        background=float(rng.uniform(*(ambient.bright_background if bright else ambient.dim_background))),
        photons=float(rng.uniform(*ambient.noise) ** -2),
        drift=float(rng.uniform(*ambient.drift)),
        heavy_motion=bool(rng.random() < ambient.heavy_motion_share),
    )
    return acquisition, float(rng.uniform(*ambient.quiet_frames) * interval)


def _draw_cameras(rng: np.random.Generator, ambient: Ambient, side: int, size: int) -> tuple[Camera, Camera]:
    close = rng.random() < ambient.close_field_share
    fields = rng.uniform(*(ambient.close_field_mm if close else ambient.field_mm), 2)
    height = rng.normal(14 if close else 8, 7)
    aside = side * (rng.uniform(8, 30) if close else rng.uniform(0, 10))
    side_on = -90 if rng.random() < 0.5 else 90
    frontal = look(
        "AP",
        (rng.normal(0, 3), rng.normal(*ambient.ap_tilt_mean_sd)),
        rng.normal(0, 2),
        np.array([aside, -15, height]),
        size,
        fields[0],
    )
    lateral = look(
        "LA",
        (side_on + rng.normal(0, ambient.lateral_tilt_sd), rng.normal(0, 2)),
        rng.normal(0, 3),
        np.array([0, rng.normal(-14, 7), rng.normal(height, 5)]),
        size,
        fields[1],
    )
    return frontal, lateral


@dataclass(frozen=True)
class Motion:
    """Where head and jaw stand in each frame, relative to the mask. Millimetres and degrees.

    Parameters
    ----------
    head, jaw : (T, 3) arrays
        Patient axes x, y, z, in mm.
    turn : (T,) array
        Rotation in the picture plane, degrees.
    """

    head: NDArray[np.float64]
    jaw: NDArray[np.float64]
    turn: NDArray[np.float64]


def draw_motion(rng: np.random.Generator, times_s: NDArray[np.float64], heavy: bool, calm: float) -> Motion:
    """Slow drift, a start at the injection, in heavy cases a jerk and a swallow."""
    n = len(times_s)
    small = rng.uniform(0.02, 0.12) * calm
    head = np.cumsum(rng.normal(0, 0.35 * small, (n, 3)), axis=0) + rng.normal(0, 0.25 * small, (n, 3))
    turn = np.cumsum(rng.normal(0, 0.03 * calm, n))
    jaw = np.cumsum(rng.normal(0, 1.2 * small, (n, 3)), axis=0)
    for _ in range(int(rng.integers(1, 4)) if heavy else int(rng.random() < 0.5)):
        at = rng.uniform(0.15, 0.95) * times_s[-1]
        step = 1 / (1 + np.exp(-(times_s - at) / rng.uniform(0.05, 0.4)))
        size = rng.uniform(0.15, 1.1) if heavy else rng.uniform(0.03, 0.2)
        head += step[:, None] * rng.normal(0, size, 3) * calm
        turn += step * rng.normal(0, 0.5 * size) * calm
    if rng.random() < (0.75 if heavy else 0.3):
        at = rng.uniform(0.1, 1.0) * times_s[-1]
        swallow = np.exp(-0.5 * ((times_s - at) / rng.uniform(0.3, 1.0)) ** 2)
        stay = 0.6 / (1 + np.exp(-(times_s - at) / 0.3)) if heavy else 0.0
        jaw += (swallow + stay)[:, None] * rng.normal(0, [0.8, 2.0, 2.4]) * (1.6 if heavy else 0.8) * calm
    head[0], jaw[0], turn[0] = 0, 0, 0
    return Motion(head, jaw + head, turn)


def moved(image: NDArray[np.float32], right_px: float, down_px: float) -> NDArray[np.float32]:
    """The picture displaced by a fraction of pixels, its edges repeated."""
    n = image.shape[0]
    i, j = int(np.floor(down_px)), int(np.floor(right_px))
    a, b = np.float32(down_px - i), np.float32(right_px - j)
    rows = np.clip(np.arange(n)[:, None] - i - np.array([0, 1]), 0, n - 1)
    columns = np.clip(np.arange(image.shape[1])[:, None] - j - np.array([0, 1]), 0, image.shape[1] - 1)
    tall = (1 - a) * image[rows[:, 0]] + a * image[rows[:, 1]]
    return (1 - b) * tall[:, columns[:, 0]] + b * tall[:, columns[:, 1]]


def misregistration(
    still: NDArray[np.float32],
    jaw: NDArray[np.float32],
    motion: Motion,
    axes: NDArray[np.float64],
    pixel_mm: float,
) -> Frames:
    """What the moved anatomy leaves after subtraction: bright and dark edges. Frames (T, H, W)."""
    n = still.shape[0]
    y, x = np.gradient(still)
    grid = (np.arange(n) - n / 2).astype(np.float32)
    swirl = grid[:, None] * x - grid[None] * y
    whole = still + jaw
    frames = np.empty((len(motion.turn), n, n), np.float32)
    for t in range(len(frames)):
        right, down = axes[:2] @ motion.head[t] / pixel_mm
        jaw_right, jaw_down = axes[:2] @ motion.jaw[t] / pixel_mm
        here = moved(still, right, down) + moved(jaw, jaw_right, jaw_down)
        frames[t] = here - whole + np.float32(np.deg2rad(motion.turn[t])) * swirl
    return frames


def quantum_noise(
    rng: np.random.Generator, shape: tuple[int, ...], body: NDArray[np.float32], photons: float
) -> Frames:
    """Noise of the logarithm of a Poisson count plus the detector's own, for counts that are not small.

    Parameters
    ----------
    shape : (T, H, W)
        Of the run.
    body : (H, W) array
        Attenuation of the head.
    photons : float
        Mean count in a pixel of median attenuation; the noise falls as 1/sqrt(photons).
    """
    count = photons * np.exp(np.clip(np.median(body) - body, -2.2, 1.4))
    sigma = np.sqrt(1 / count + (READ_NOISE / count) ** 2).astype(np.float32)
    noise: Frames = rng.standard_normal(shape, dtype=np.float32)
    return noise * sigma


def slow_drift(rng: np.random.Generator, n_frames: int, size: int, strength: float) -> Frames:
    """A gain that wanders from frame to frame and smoothly over the picture. Frames (T, H, W)."""
    field = enlarge(rng.normal(0, 0.5, (1, 4, 4)).astype(np.float32), size)
    wander = np.cumsum(rng.normal(0, 0.3, n_frames)).astype(np.float32)
    level = rng.normal(0, 1, n_frames).astype(np.float32)
    wave: Frames = 0.4 * wander[:, None, None] * field + 0.3 * level[:, None, None]
    return np.float32(strength) * wave


def window_to_bytes(frames: Frames) -> NDArray[np.uint8]:
    """The run's 0.5–99.5 percentile window, to 0…255."""
    low, high = np.percentile(frames[:, ::2, ::2], [0.5, 99.5])
    return (np.clip((frames - low) / max(high - low, 1e-6), 0, 1) * 255 + 0.5).astype(np.uint8)
