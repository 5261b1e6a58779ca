"""What the machine and the patient's unrest add: motion, noise, drift, and the grey scale of the console."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Frames = NDArray[np.float32]


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


def draw_motion(rng: np.random.Generator, times_s: NDArray[np.float64], heavy: bool, calm: float = 1.0) -> Motion:
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
    still: NDArray[np.float32], jaw: NDArray[np.float32], motion: Motion, axes: NDArray[np.float64], pixel_mm: float
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


def add_noise(rng: np.random.Generator, frames: Frames, body: NDArray[np.float32], sigma: float) -> Frames:
    """Quantum noise of the subtracted logarithm, stronger behind bone, with the detector's blur. In place."""
    local = (sigma * np.exp(0.5 * (body - np.median(body))).clip(0.5, 3.0)).astype(np.float32)
    noise = rng.standard_normal(frames.shape, dtype=np.float32)
    frames += noise * local
    return frames


def slow_drift(rng: np.random.Generator, n_frames: int, size: int, strength: float) -> Frames:
    """A gain that wanders from frame to frame and smoothly over the picture. Frames (T, H, W)."""
    field = gaussian_filter(rng.normal(size=(size, size)), size / 5).astype(np.float32)
    field /= np.abs(field).max() + 1e-9
    wander = np.cumsum(rng.normal(0, 0.3, n_frames)).astype(np.float32)
    level = rng.normal(0, 1, n_frames).astype(np.float32)
    return strength * (0.4 * wander[:, None, None] * field + 0.3 * level[:, None, None])


def window_to_bytes(frames: Frames) -> NDArray[np.uint8]:
    """The run's 0.5–99.5 percentile window, to 0…255."""
    low, high = np.percentile(frames[:, ::2, ::2], [0.5, 99.5])
    return (np.clip((frames - low) / max(high - low, 1e-6), 0, 1) * 255 + 0.5).astype(np.uint8)
