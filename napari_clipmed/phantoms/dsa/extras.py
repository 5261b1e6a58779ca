"""Scatter, detector blur, shutters, a catheter, breathing: only where a preset's ranges ask for them.

They are drawn from a stream of random numbers of their own, so that a preset without them gives the studies
it always gave: test sets and trained models depend on those.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_clipmed.phantoms.dsa.acquisition import Motion, moved
from napari_clipmed.phantoms.dsa.anatomy import Anatomy
from napari_clipmed.phantoms.dsa.config import Ambient
from napari_clipmed.phantoms.dsa.projection import Camera, splat

Frames = NDArray[np.float32]
Image = NDArray[np.float32]

SCATTER_WIDTH = 0.12
"""Standard deviation of the scattered light's spread, as a share of the detector's side."""

CATHETER_RADIUS_MM, CATHETER_PER_MM = 0.85, 0.05
"""A 5 F catheter, and the attenuation (natural logarithm) of its wall a millimetre."""

LEAD = 2.2
"""Attenuation of a shutter beyond the median of the head."""


@dataclass(frozen=True, eq=False)
class Extras:
    """What is added to both planes of a study; the defaults add nothing.

    Parameters
    ----------
    scatter : float
        Scattered over primary radiation behind a head of median attenuation.
    blur_mm : float
        Standard deviation of the detector's blur, in the plane of the head.
    shutter : str
        ``"frame"``, ``"disc"`` or empty.
    margins : (4,) array
        Covered shares of the side at the top, bottom, left and right; of a disc the first one only.
    catheter : (K, 3) array
        Its centre line in mm, tip last; empty for none.
    recoil : (T, 3) array
        Its displacement against the mask, mm.
    """

    scatter: float = 0.0
    blur_mm: float = 0.0
    shutter: str = ""
    margins: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    catheter: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    recoil: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))

    def add(self, camera: Camera, log: Frames, body: Image) -> tuple[Frames, Image]:
        """Log attenuation beyond the head (T, H, W) and of the head (H, W), as the detector has them."""
        if len(self.catheter):
            log, body = self._with_catheter(camera, log, body)
        if self.scatter > 0:
            log, body = scattered(log, body, self.scatter)
        if self.blur_mm > 0:
            width = self.blur_mm / camera.pixel_mm
            log, body = gaussian_filter(log, (0, width, width)), gaussian_filter(body, width)
        if self.shutter:
            seen = self.opening(camera.size)
            log = log * seen
            body = seen * body + (1 - seen) * (np.float32(np.median(body)) + np.float32(LEAD))
        return log, body

    def opening(self, size: int) -> Image:
        """What the shutters leave free: 1 inside, 0 behind them, with a soft edge. (H, W)."""
        place = (np.arange(size) + 0.5) / size
        if self.shutter == "disc":
            radius = np.hypot(*np.meshgrid(place - 0.5, place - 0.5, indexing="ij"))
            inside = radius < 0.53 - 0.3 * self.margins[0]
        else:
            top, bottom, left, right = self.margins
            rows, columns = (place > top) & (place < 1 - bottom), (place > left) & (place < 1 - right)
            inside = rows[:, None] & columns[None]
        return np.asarray(gaussian_filter(inside.astype(np.float32), size / 200), np.float32)

    def _with_catheter(self, camera: Camera, log: Frames, body: Image) -> tuple[Frames, Image]:
        """The mask holds it, too: what shows is how it moved."""
        along = np.diff(self.catheter, axis=0, prepend=self.catheter[:1])
        length = np.linalg.norm(along, axis=1)
        radius = np.full(len(length), CATHETER_RADIUS_MM)
        mass = np.pi * radius**2 * length
        drawn = splat(camera, self.catheter, radius, mass, along) @ np.ones(len(length), np.float32)
        shadow = CATHETER_PER_MM * np.asarray(drawn, np.float32).reshape(camera.size, camera.size)
        left = [moved(shadow, *(camera.axes[:2] @ shift / camera.pixel_mm)) - shadow for shift in self.recoil]
        return log + np.stack(left), body + shadow


def scattered(log: Frames, body: Image, ratio: float) -> tuple[Frames, Image]:
    """Add a pedestal of scattered radiation, which flattens contrast most where little gets through.

    Parameters
    ----------
    log : (T, H, W) array
        Attenuation beyond the head.
    body : (H, W) array
        That of the head.
    ratio : float
        Scattered over primary radiation behind a head of median attenuation.
    """
    middle = np.float32(np.median(body))
    primary = np.exp(middle - body)
    pedestal = ratio * gaussian_filter(primary, SCATTER_WIDTH * len(body))
    seen = -np.log((primary * np.exp(-log) + pedestal) / (primary + pedestal))
    return seen.astype(np.float32), (middle - np.log((primary + pedestal) / (1 + ratio))).astype(np.float32)


def draw_extras(
    seed: int, ambient: Ambient, anatomy: Anatomy, times_s: NDArray[np.float64], onset_s: float
) -> Extras:
    """Draw what the preset asks for; the injection starts at `onset_s` and pushes the catheter."""
    rng = np.random.default_rng([seed, 6])
    scatter, blur = rng.uniform(*ambient.scatter), rng.uniform(*ambient.blur_mm)
    closed, disc, with_catheter = rng.random(3)
    margins = rng.uniform(0.0, 0.13, 4)
    extras = Extras(scatter, blur, margins=margins)
    if closed < ambient.shutter_share:
        extras = replace(extras, shutter="disc" if disc < 0.4 else "frame")
    if with_catheter < ambient.catheter_share:
        carotid = anatomy.arteries.position[anatomy.arteries.named("cervical ICA")]
        above = carotid[: max(2, int(len(carotid) * rng.uniform(0.15, 0.45)))]
        below = above[0] - np.outer(np.arange(60, 0, -1) * 2.0, [0, 0, 1])
        pushed = 1 / (1 + np.exp(-(times_s - onset_s) / 0.15))
        beat = np.sin(2 * np.pi * times_s / rng.uniform(0.7, 1.1) + rng.uniform(0, 6.3))
        recoil = pushed[:, None] * rng.normal(0, 0.7, 3) + beat[:, None] * rng.normal(0, 0.12, 3)
        extras = replace(extras, catheter=np.vstack([below, above]), recoil=recoil - recoil[0])
    return extras


def breathing(motion: Motion, seed: int, ambient: Ambient, times_s: NDArray[np.float64]) -> Motion:
    """Head and jaw also rise and sink with the breath."""
    if ambient.breathing_mm[1] <= 0:
        return motion
    rng = np.random.default_rng([seed, 7])
    phase = 2 * np.pi * times_s / rng.uniform(2.5, 5.0) + rng.uniform(0, 6.3)
    rise = rng.uniform(*ambient.breathing_mm) * (np.sin(phase) - np.sin(phase[0]))
    lift = rise[:, None] * np.array([0.0, 0.4, 1.0])
    return replace(motion, head=motion.head + lift, jaw=motion.jaw + 1.3 * lift)
