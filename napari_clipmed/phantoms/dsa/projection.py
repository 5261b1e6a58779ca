"""Two cone beams that look at the same millimetres, and the splatting of contrast on to their detectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom
from scipy.sparse import csc_matrix

Frames = NDArray[np.float32]


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
        return Camera(
            self.name,
            self.axes,
            self.centre,
            self.size // factor,
            self.field_mm,
            self.sid_mm,
            self.sod_mm,
            self.angles,
        )


def look(
    name: str, primary_deg: float, secondary_deg: float, roll_deg: float, mirror: bool, centre: NDArray[np.float64], size: int, field_mm: float,
    sid_mm: float = 1100.0, sod_mm: float = 750.0,
) -> Camera:
    """A camera from its positioner angles (DICOM C.8.7.5: 0 frontal, +90 towards the patient's left)."""
    p, s, r = np.deg2rad([primary_deg, secondary_deg, roll_deg])
    forward = np.array([np.sin(p) * np.cos(s), np.cos(p) * np.cos(s), np.sin(s)])
    right = np.array([np.cos(p), -np.sin(p), 0.0])
    down = np.cross(right, forward)
    down = down if down[2] < 0 else -down
    if mirror:
        right = -right
    turned = np.cos(r) * right + np.sin(r) * down, np.cos(r) * down - np.sin(r) * right
    return Camera(name, np.stack([*turned, forward]), centre, size, field_mm, sid_mm, sod_mm, (primary_deg, secondary_deg))


def splat(camera: Camera, points: NDArray[np.float64], radius_mm: NDArray[np.float64], mass_mm3: NDArray[np.float64]) -> csc_matrix:
    """How a unit of concentration in each element shows on the detector, in mm of contrast.

    Every element is a soft disc that conserves its mass, so that a row of them gives a cylinder's profile.

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

    Returns
    -------
    (H*W, N) sparse matrix
        Times the concentrations (N, T) it gives the frames (H*W, T).
    """
    where, scale = camera.project(points)
    radius = radius_mm * scale
    amount = mass_mm3 * scale**2
    reach = np.clip(np.ceil(np.where(radius < 1.0, 1.2 + radius, radius + 1.3)), 1, 40).astype(int)
    order = np.argsort(reach, kind="stable")
    pieces = [
        _stamps(where[chunk], radius[chunk], amount[chunk], int(reach[chunk[0]]), camera.size)
        for chunk in np.split(order, np.flatnonzero(np.diff(reach[order])) + 1)
        if len(chunk)
    ]
    rows = np.concatenate([p[0].ravel() for p in pieces])
    values = np.concatenate([p[1].ravel() for p in pieces])
    counts = np.concatenate([np.full(len(p[0]), p[0].shape[1]) for p in pieces])
    columns = np.repeat(order, counts)
    kept = values > 0
    return csc_matrix((values[kept], (rows[kept], columns[kept])), shape=(camera.size**2, len(points)))


def _stamps(
    where: NDArray[np.float64], radius: NDArray[np.float64], amount: NDArray[np.float64], reach: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pixel indices and weights of discs of similar size, each (n, (2·reach+1)²)."""
    base = np.round(where).astype(np.int64)
    offset = np.arange(-reach, reach + 1)
    dx = offset[None] + base[:, :1] - where[:, :1]
    dy = offset[None] + base[:, 1:] - where[:, 1:]
    square = dy[:, :, None] ** 2 + dx[:, None, :] ** 2
    if reach <= 2:
        spread = 0.28 + radius**2 / 4
        weight = np.exp(-square / (2 * spread[:, None, None]))
    else:
        weight = np.clip((radius[:, None, None] + 0.8 - np.sqrt(square)) / 1.6, 0, 1)
    weight *= (amount / weight.sum((1, 2)))[:, None, None]
    column, row = base[:, :1] + offset, base[:, 1:] + offset
    inside = ((row >= 0) & (row < size))[:, :, None] & ((column >= 0) & (column < size))[:, None, :]
    index = row[:, :, None] * size + column[:, None, :]
    n = len(where)
    return np.where(inside, index, 0).reshape(n, -1), np.where(inside, weight, 0).astype(np.float32).reshape(n, -1)


def render(matrix: csc_matrix, concentration: NDArray[np.float32], size: int) -> Frames:
    """Frames (T, size, size) of contrast thickness in mm."""
    return np.ascontiguousarray((matrix @ concentration).T).reshape(-1, size, size)


def render_blush(
    camera: Camera, points: NDArray[np.float64], volume_mm3: NDArray[np.float64], concentration: NDArray[np.float32], spread_mm: float, factor: int = 4
) -> Frames:
    """Smooth tissue blush: wide soft blobs on a coarse detector, enlarged. Frames (T, H, W) in mm."""
    coarse = camera.coarser(factor)
    where, scale = coarse.project(points)
    sigma = spread_mm * float(np.median(scale))
    reach = int(np.ceil(2.2 * sigma))
    base = np.round(where).astype(np.int64)
    offset = np.arange(-reach, reach + 1)
    wx = np.exp(-((offset + base[:, :1] - where[:, :1]) ** 2) / (2 * sigma**2))
    wy = np.exp(-((offset + base[:, 1:] - where[:, 1:]) ** 2) / (2 * sigma**2))
    weight = wy[:, :, None] * wx[:, None, :]
    weight *= (volume_mm3 * scale**2 / weight.sum((1, 2)))[:, None, None]
    column, row = base[:, :1] + offset, base[:, 1:] + offset
    inside = ((row >= 0) & (row < coarse.size))[:, :, None] & ((column >= 0) & (column < coarse.size))[:, None, :]
    index = np.where(inside, row[:, :, None] * coarse.size + column[:, None, :], 0).ravel()
    values = np.where(inside, weight, 0).astype(np.float32).ravel()
    indptr = np.arange(len(points) + 1) * weight[0].size
    matrix = csc_matrix((values, index, indptr), shape=(coarse.size**2, len(points)))
    frames = render(matrix, concentration, coarse.size)
    share = camera.size / coarse.size
    return zoom(frames, (1, share, share), order=1, grid_mode=True, mode="nearest")
