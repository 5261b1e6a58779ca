"""Two cone beams that look at the same millimetres, and the splatting of contrast on to their detectors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix

Frames = NDArray[np.float32]

IODINE_PER_MM = 0.1
"""Attenuation (natural logarithm) of a millimetre of undiluted contrast."""


@dataclass(frozen=True)
class Camera:
    """One plane of the biplane system.

    Parameters
    ----------
    name : str
        ``"AP"`` or ``"LA"``.
    axes : (3, 3) array
        Rows: picture right, picture down, and towards the detector, as unit vectors of the patient.
    centre : (3,) array
        Isocentre in patient millimetres.
    size : int
        Detector pixels along each side.
    field_mm : float
        Width of the picture at the isocentre.
    sid_mm, sod_mm : float
        Source to detector and source to isocentre.
    angles : (float, float)
        Positioner primary and secondary angle in degrees.
    """

    name: str
    axes: NDArray[np.float64]
    centre: NDArray[np.float64]
    size: int
    field_mm: float
    sid_mm: float
    sod_mm: float
    angles: tuple[float, float]

    @property
    def pixel_mm(self) -> float:
        """Size of a pixel at the isocentre."""
        return self.field_mm / self.size

    @property
    def detector_pixel_mm(self) -> float:
        """Size of a pixel at the detector (DICOM Imager Pixel Spacing)."""
        return self.pixel_mm * self.sid_mm / self.sod_mm

    def project(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixel positions (N, 2) as column, row, and pixels per millimetre at each point (N,)."""
        local = (points - self.centre) @ self.axes.T
        magnification = self.sod_mm / (self.sod_mm + local[:, 2])
        scale = magnification / self.pixel_mm
        return local[:, :2] * scale[:, None] + (self.size - 1) / 2, scale

    def coarser(self, factor: int) -> Camera:
        """The same view on a detector with fewer pixels."""
        return replace(self, size=self.size // factor)


def look(
    name: str,
    angles_deg: tuple[float, float],
    roll_deg: float,
    centre: NDArray[np.float64],
    size: int,
    field_mm: float,
    sid_mm: float = 1100.0,
    sod_mm: float = 750.0,
) -> Camera:
    """A camera from its positioner angles (DICOM C.8.7.5: 0 frontal, +90 towards the patient's left)."""
    p, s, r = np.deg2rad([*angles_deg, roll_deg])
    forward = np.array([np.sin(p) * np.cos(s), np.cos(p) * np.cos(s), np.sin(s)])
    right = np.array([np.cos(p), -np.sin(p), 0.0])
    down = np.cross(right, forward)
    down = down if down[2] < 0 else -down
    turned = np.cos(r) * right + np.sin(r) * down, np.cos(r) * down - np.sin(r) * right
    return Camera(name, np.stack([*turned, forward]), centre, size, field_mm, sid_mm, sod_mm, angles_deg)


def splat(
    camera: Camera,
    points: NDArray[np.float64],
    radius_mm: NDArray[np.float64],
    mass_mm3: NDArray[np.float64],
    along_mm: NDArray[np.float64] | None = None,
) -> csc_matrix:
    """How a unit of concentration in each element shows on the detector, in mm of contrast.

    An element is a row of soft discs that conserve its mass; a row of discs has a cylinder's profile.

    Parameters
    ----------
    camera : Camera
        The view.
    points : (N, 3) array
        Centres in mm.
    radius_mm : (N,) array
        Radii.
    mass_mm3 : (N,) array
        Volumes.
    along_mm : (N, 3) array, optional
        Each element's extent from end to end, laid out in steps of a pixel: thin vessels must not bead.

    Returns
    -------
    (H*W, N) sparse matrix
        Times the concentrations (N, T) it gives the frames (H*W, T).
    """
    owner = np.arange(len(points))
    if along_mm is not None:
        steps = np.maximum(np.ceil(np.linalg.norm(along_mm, axis=1) / (1.3 * camera.pixel_mm)).astype(int), 1)
        owner = np.repeat(owner, steps)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(steps) - steps, steps)
        share = (place + 0.5) / steps[owner] - 0.5
        points = points[owner] + share[:, None] * along_mm[owner]
        radius_mm, mass_mm3 = radius_mm[owner], mass_mm3[owner] / steps[owner]
    where, scale = camera.project(points)
    radius = radius_mm * scale
    amount = mass_mm3 * scale**2
    reach = np.clip(np.ceil(np.where(radius < 1.0, 1.2 + radius, radius + 1.3)), 1, 40).astype(int)
    order = np.argsort(reach, kind="stable")
    pieces = [
        (chunk, *_stamps(where[chunk], radius[chunk], amount[chunk], int(reach[chunk[0]]), camera.size))
        for chunk in np.split(order, np.flatnonzero(np.diff(reach[order])) + 1)
        if len(chunk)
    ]
    rows = np.concatenate([index.ravel() for _, index, _ in pieces])
    values = np.concatenate([weight.ravel() for _, _, weight in pieces])
    columns = np.concatenate([np.repeat(owner[chunk], index.shape[1]) for chunk, index, _ in pieces])
    kept = values > 0
    shape = (camera.size**2, int(owner[-1]) + 1)
    return csc_matrix((values[kept], (rows[kept], columns[kept])), shape=shape)


Stamps = tuple[NDArray[np.int32], NDArray[np.float32]]


def _stamps(
    where: NDArray[np.float64],
    radius: NDArray[np.float64],
    amount: NDArray[np.float64],
    reach: int,
    size: int,
) -> Stamps:
    """Pixel indices and weights of discs of similar size, each (n, (2·reach+1)²)."""
    if reach <= 2:
        return _gaussians(where, amount, 0.28 + radius**2 / 4, reach, size)
    dx, dy, index, inside = _grid(where, reach, size)
    distance = np.sqrt(dy[:, :, None] ** 2 + dx[:, None, :] ** 2)
    weight = np.clip((radius[:, None, None] + 0.8 - distance) / 1.6, 0, 1)
    return index, _conserve(weight, amount, inside)


def _gaussians(
    where: NDArray[np.float64],
    amount: NDArray[np.float64],
    variance: NDArray[np.float64],
    reach: int,
    size: int,
) -> Stamps:
    """Pixel indices and weights of Gaussian spots, each (n, (2·reach+1)²)."""
    dx, dy, index, inside = _grid(where, reach, size)
    across, down = (np.exp(-(d**2) / (2 * variance[:, None])) for d in (dx, dy))
    return index, _conserve(down[:, :, None] * across[:, None, :], amount, inside)


def _grid(
    where: NDArray[np.float64], reach: int, size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32], NDArray[np.bool_]]:
    """Distances (n, k) to the k nearest columns and rows; flat indices (n, k²), and which are inside."""
    base = np.round(where).astype(np.int32)
    offset = np.arange(-reach, reach + 1, dtype=np.int32)
    column, row = base[:, :1] + offset, base[:, 1:] + offset
    inside = ((row >= 0) & (row < size))[:, :, None] & ((column >= 0) & (column < size))[:, None, :]
    index = np.where(inside, row[:, :, None] * size + column[:, None, :], 0)
    n = len(where)
    return column - where[:, :1], row - where[:, 1:], index.reshape(n, -1), inside.reshape(n, -1)


def _conserve(
    weight: NDArray[np.float64], amount: NDArray[np.float64], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Scale each stamp to its amount; what falls off the detector is lost. (n, k, k) to (n, k²)."""
    weight = weight * (amount / weight.sum((1, 2)))[:, None, None]
    return np.where(inside, weight.reshape(len(weight), -1), 0).astype(np.float32)


def render(matrix: csc_matrix, concentration: NDArray[np.float32], size: int) -> Frames:
    """Frames (T, size, size) of contrast thickness in mm."""
    return np.ascontiguousarray((matrix @ concentration).T).reshape(-1, size, size)


def render_blush(
    camera: Camera,
    points: NDArray[np.float64],
    volume_mm3: NDArray[np.float64],
    concentration: NDArray[np.float32],
    spread_mm: float,
    factor: int = 4,
) -> Frames:
    """Smooth tissue blush: wide soft blobs on a coarse detector, enlarged. Frames (T, H, W) in mm."""
    coarse = camera.coarser(factor)
    where, scale = coarse.project(points)
    sigma = spread_mm * float(np.median(scale))
    reach = int(np.ceil(2.2 * sigma))
    index, weight = _gaussians(
        where, volume_mm3 * scale**2, np.full(len(points), sigma**2), reach, coarse.size
    )
    indptr = np.arange(len(points) + 1) * index.shape[1]
    matrix = csc_matrix((weight.ravel(), index.ravel(), indptr), shape=(coarse.size**2, len(points)))
    return enlarge(render(matrix, concentration, coarse.size), camera.size)


def enlarge(frames: Frames, size: int) -> Frames:
    """Linear enlargement of (T, h, w) to (T, size, size), as two matrix products."""
    across = _interpolation(frames.shape[2], size)
    down = _interpolation(frames.shape[1], size)
    return np.asarray(down @ frames @ across.T, dtype=np.float32)


@lru_cache(maxsize=16)
def _interpolation(n: int, size: int) -> NDArray[np.float32]:
    """The (size, n) matrix of linear interpolation between the centres of n pixels."""
    at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    low = np.minimum(at.astype(int), n - 2)
    matrix = np.zeros((size, n), np.float32)
    rows = np.arange(size)
    matrix[rows, low], matrix[rows, low + 1] = 1 - (at - low), at - low
    return matrix
