"""Bones and soft tissue as ellipsoids, seen by the same cone beams as the vessels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.projection import Camera, enlarge

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Solid:
    """An ellipsoid.

    Parameters
    ----------
    centre, axes : (x, y, z)
        Centre and half axes in mm.
    per_mm : float
        Attenuation (natural logarithm) a millimetre; negative for what is hollow.
    tilt_deg : float
        Turn about x.
    part : str
        ``jaw`` moves by itself; ``vault`` thins out towards the base, which is drawn as separate bones.
    """

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    per_mm: float
    tilt_deg: float = 0.0
    part: str = ""


BONE, AIR = 0.024, -0.012
"""Attenuation a millimetre of bone, and of air where tissue would be."""


def draw_head(rng: np.random.Generator, scale: NDArray[np.float64]) -> list[Solid]:
    """Skull, face, teeth, jaw, neck and air spaces of one patient; `scale` (3,) is the size of the head."""
    whole = _vault(thickness=rng.uniform(5.0, 8.0))
    details = [*_face_and_base(rng), *_jaw(rng), *_spine()]
    varied = rng.normal(1.0, 0.03, (len(whole) + len(details), 3))[len(whole) :]
    return [_scaled(solid, scale) for solid in whole] + [
        _scaled(solid, scale * own) for solid, own in zip(details, varied, strict=True)
    ]


def _scaled(solid: Solid, scale: NDArray[np.float64]) -> Solid:
    x, y, z = (np.asarray(solid.centre) * scale).tolist()
    a, b, c = (np.asarray(solid.axes) * scale).tolist()
    return replace(solid, centre=(x, y, z), axes=(a, b, c))


def _vault(thickness: float) -> list[Solid]:
    """Scalp, both tables of the vault, which meet at the base, and the soft tissue of face and neck."""
    middle, (x, y, z) = (0.0, -18.0, 22.0), (76.0, 95.0, 76.0)
    lower = (0.0, middle[1], middle[2] - 0.55 * thickness)
    return [
        Solid(middle, (x + 5, y + 5, z + 5), 0.011, part="vault"),
        Solid(middle, (x, y, z), BONE, part="vault"),
        Solid(lower, (x - thickness, y - thickness, z - 0.55 * thickness), -BONE, part="vault"),
        Solid((0, 22, -60), (52, 50, 62), 0.006),
        Solid((0, -36, -110), (52, 50, 95), 0.006),
    ]


def _face_and_base(rng: np.random.Generator) -> list[Solid]:
    """Orbits, sinuses, cheeks; petrous bones, mastoid cells, sphenoid wings and clivus."""
    solids = []
    for side in (-1, 1):
        solids += [
            Solid((side * 32, 56, -14), (19, 22, 17), AIR),  # orbit
            Solid((side * 33, 62, -14), (23, 5, 20), 0.018),  # its rim
            Solid((side * 27, 50, -44), (14, 16, 17), AIR),  # maxillary sinus
            Solid((side * 52, 46, -34), (13, 12, 9), 0.022),  # cheek bone
            Solid((side * 36, -28, -32), (26, 9, 9), 0.015, tilt_deg=10),  # petrous bone
            Solid((side * 55, -42, -42), (11, 13, 17), 0.02),  # mastoid
            Solid((side * 42, 18, -8), (26, 6, 4), 0.014),  # sphenoid wing
        ]
        solids += [_cell(rng, side) for _ in range(12)]
    return [
        *solids,
        Solid((0, 64, 12), (20, 7, 10), 1.4 * AIR),  # frontal sinus
        Solid((0, 48, -30), (6, 20, 22), 1.3 * AIR),  # nose
        Solid((0, 16, -22), (12, 12, 9), 1.3 * AIR),  # sphenoid sinus
        Solid((0, -30, -38), (14, 16, 6), 0.022, tilt_deg=40),  # clivus
    ]


def _spine() -> list[Solid]:
    """Six cervical vertebrae with their spinous processes."""
    solids = []
    for level in range(6):
        solids.append(Solid((0, -38 + 1.5 * level, -72 - 19 * level), (14, 11, 7.5), 0.018))
        solids.append(Solid((0, -56 + 1.5 * level, -76 - 19 * level), (5, 9, 5), 0.016))
    return solids


def _cell(rng: np.random.Generator, side: int) -> Solid:
    """One mastoid air cell."""
    centre = rng.normal([side * 54, -44, -40], [5, 8, 9])
    radius = rng.uniform(1.5, 4.0)
    return Solid(tuple(centre), (radius, radius, radius), -0.02)


def _jaw(rng: np.random.Generator) -> list[Solid]:
    """Mandible with its rami, both rows of teeth, metal fillings in some."""
    solids = []
    for side in (-1, 1):
        for u in np.linspace(0, 1, 24):
            angle = 0.5 * np.pi * u
            x, y = side * 43 * np.sin(angle), 20 + 48 * np.cos(angle)
            solids.append(Solid((x, y, -98 + 9 * u**2), (5.5, 5.5, 11), 0.008, part="jaw"))
        for u in np.linspace(0, 1, 14):
            centre = (side * (44 + 5 * u), 18 - 16 * u, -86 + 44 * u)
            solids.append(Solid(centre, (4, 13 - 4 * u, 7), 0.007, part="jaw"))
        for u in (np.arange(7) + 0.5) / 7:
            angle = 0.42 * np.pi * u
            x, y = side * 29 * np.sin(angle), 30 + 34 * np.cos(angle)
            metal = 0.12 if rng.random() < 0.12 else 0.0
            solids.append(Solid((x, y, -67), (3.4, 3.6, 8.5), 0.035 + metal))
            solids.append(
                Solid((x, y, -84), (3.2, 3.4, 8.0), 0.035 + (0.1 if rng.random() < 0.1 else 0), part="jaw")
            )
    return solids


def attenuation(
    camera: Camera, solids: list[Solid], rng: np.random.Generator, uneven: float = 1.0
) -> tuple[Image, Image]:
    """Line integrals of attenuation, of the head without and of the jaw alone, each (H, W).

    `uneven` is a factor on the texture of bone.
    """
    layers = {part: np.zeros((camera.size, camera.size), np.float32) for part in ("", "vault", "jaw")}
    for solid in solids:
        _add(layers[solid.part], camera, solid)
    texture = np.zeros_like(layers[""])
    for knots, strength in ((28, 0.012), (75, 0.007)):
        texture += (
            uneven * strength * enlarge(rng.normal(size=(1, knots, knots)).astype(np.float32), camera.size)[0]
        )
    still = np.maximum(layers[""] + layers["vault"] * _towards_base(camera), 0)
    return still * (1 + texture), layers["jaw"] * (1 + texture)


def _towards_base(camera: Camera) -> Image:
    """Share of the vault that is drawn at each pixel: all of it above the base, little below. (H, W)."""
    offset = (np.arange(camera.size) - (camera.size - 1) / 2) * camera.pixel_mm
    up = camera.centre[2] + camera.axes[0, 2] * offset[None] + camera.axes[1, 2] * offset[:, None]
    return (0.3 + 0.7 / (1 + np.exp(-(up + 22) / 7))).astype(np.float32)


def _add(image: Image, camera: Camera, solid: Solid) -> None:
    """Add the chords of one ellipsoid, rays taken as parallel near its centre."""
    centre = np.asarray(solid.centre)[None]
    where, scale = camera.project(centre)
    (column, row), px_per_mm = where[0], float(scale[0])
    t = np.deg2rad(solid.tilt_deg)
    rotation = np.array([[1, 0, 0], [0, np.cos(t), -np.sin(t)], [0, np.sin(t), np.cos(t)]])
    metric = rotation @ np.diag(1 / np.square(solid.axes)) @ rotation.T
    q = camera.axes @ metric @ camera.axes.T
    reach = max(solid.axes) * px_per_mm + 2
    r0, r1 = max(int(row - reach), 0), min(int(row + reach) + 1, camera.size)
    c0, c1 = max(int(column - reach), 0), min(int(column + reach) + 1, camera.size)
    if r0 >= r1 or c0 >= c1:
        return
    x = ((np.arange(c0, c1) - column) / px_per_mm)[None]
    y = ((np.arange(r0, r1) - row) / px_per_mm)[:, None]
    b = q[0, 2] * x + q[1, 2] * y
    c = q[0, 0] * x**2 + 2 * q[0, 1] * x * y + q[1, 1] * y**2 - 1
    chord = 2 * np.sqrt(np.maximum(b**2 - q[2, 2] * c, 0)) / q[2, 2]
    image[r0:r1, c0:c1] += (solid.per_mm * chord).astype(np.float32)
