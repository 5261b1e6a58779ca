"""A chest as X-rays see it: smooth attenuation fields of lungs, heart, bones and vessels.

Coordinates are normalised: x from -1 (left of the picture, the patient's right) to 1, y from -1 (top) to 1.
Every field is an (H, W) float32 array of line integrals in arbitrary units that `film` turns into grey.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.draw import polygon2mask

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Body:
    """Proportions of one patient, drawn once per patient.

    Lengths are in normalised picture units; `heart` is the cardiothoracic ratio.
    """

    lung_width: float
    lung_top: float
    lung_base: float
    dome: float
    heart: float
    rib_slope: float
    rib_pitch: float
    soft_tissue: float
    breast: float
    rotation: float
    bone: float


def draw_body(rng: np.random.Generator) -> Body:
    """Draw the proportions of an adult chest."""
    return Body(
        lung_width=rng.uniform(0.55, 0.68),
        lung_top=rng.uniform(-0.86, -0.76),
        lung_base=rng.uniform(0.38, 0.60),
        dome=rng.uniform(0.08, 0.18),
        heart=rng.uniform(0.40, 0.58),
        rib_slope=rng.uniform(0.22, 0.45),
        rib_pitch=rng.uniform(0.135, 0.165),
        soft_tissue=rng.uniform(0.8, 1.3),
        breast=rng.uniform(0.0, 1.0) if rng.random() < 0.5 else 0.0,
        rotation=rng.normal(0, 0.02),
        bone=rng.uniform(0.7, 1.3),
    )


def grid(size: int) -> tuple[Field, Field]:
    """Normalised (y, x) coordinates of every pixel, each (size, size)."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    return tuple(np.meshgrid(axis, axis, indexing="ij"))  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Lungs:
    """The two lung fields, named by where they lie in the picture."""

    left: Mask
    right: Mask

    @property
    def both(self) -> Mask:
        """Either lung, (H, W)."""
        return self.left | self.right

    def side(self, name: str) -> Mask:
        """`left` or `right` of the picture."""
        return self.left if name == "left" else self.right


def lung_fields(body: Body, size: int) -> Lungs:
    """Outline both lungs; the heart bulges into the right of the picture (the patient's left)."""
    return Lungs(
        left=_lung(body, size, sign=-1, base_lift=0.06, heart_bulge=0.06),
        right=_lung(body, size, sign=1, base_lift=0.0, heart_bulge=0.42 * body.heart),
    )


def _lung(body: Body, size: int, sign: int, base_lift: float, heart_bulge: float) -> Mask:
    t = np.linspace(0, 1, 60)
    top, base = body.lung_top, body.lung_base - base_lift
    height = base - top
    # Lateral wall: narrow at the apex, widest at two thirds, a little in again at the angle.
    lateral_y = top + t * (height + 0.12)
    lateral_x = 0.16 + (body.lung_width + 0.08) * np.sin(np.clip(t * 0.62 * np.pi, 0, np.pi)) ** 0.7
    # Diaphragm: a dome that falls into the costophrenic angle.
    s = np.linspace(0, 1, 30)
    floor_x = lateral_x[-1] + s * (0.14 - lateral_x[-1])
    floor_y = (base + 0.12) - (0.12 + body.dome) * np.sin(s * np.pi * 0.62)
    # Mediastinal border, with the heart in its lower half.
    medial_y = floor_y[-1] + t * (top - floor_y[-1])
    rise = np.clip((medial_y - (top + 0.45 * height)) / (0.55 * height), 0, 1)
    medial_x = 0.13 + heart_bulge * np.sin(rise * np.pi * 0.72) ** 1.2 + 0.03 * np.cos(6 * t)
    x = sign * np.concatenate([lateral_x, floor_x, medial_x]) + body.rotation
    y = np.concatenate([lateral_y, floor_y, medial_y])
    corners = np.stack([(y + 1) / 2 * size, (x + 1) / 2 * size], axis=1)
    return np.asarray(polygon2mask((size, size), corners), dtype=bool)


def air(lungs: Lungs, size: int) -> Field:
    """Thickness of lung: zero at the border and flat in the middle, like a rounded slab."""
    depth = distance_transform_edt(lungs.both) / size
    return gaussian_filter(np.sqrt(np.clip(depth / 0.10, 0, 1)), size * 0.006).astype(np.float32)


def soft_tissue(body: Body, size: int) -> Field:
    """Trunk, neck, shoulders, breasts and the abdomen below the diaphragm."""
    y, x = grid(size)
    width = 0.98 - 0.62 * np.clip((-0.72 - y) / 0.28, 0, 1) ** 0.8
    trunk = np.clip(1 - (np.abs(x) / (width + 0.12)) ** 5, 0, 1)
    tissue = body.soft_tissue * (0.75 + 0.25 * trunk) * (trunk > 0)
    tissue = tissue + 1.0 * _sigmoid((y - body.lung_base + 0.10) / 0.08)
    for centre in (-0.45, 0.45):
        breast = np.clip(1 - ((x - centre) / 0.34) ** 2 - ((y - 0.38) / 0.30) ** 2, 0, 1)
        tissue = tissue + 0.32 * body.breast * np.sqrt(breast)
    return gaussian_filter(tissue, size * 0.008).astype(np.float32)


def mediastinum(body: Body, size: int) -> Field:
    """Heart, aortic knob, great vessels, spine column, and the lucent trachea."""
    y, x = grid(size)
    x = x - body.rotation
    band = np.exp(-((x / 0.13) ** 4)) * _sigmoid((y + 0.95) / 0.1)
    heart_y = body.lung_base - 0.16
    # The axis runs from the right atrium down to the apex: the contour leans to the patient's left.
    lean = x - 0.12 - 0.30 * (y - heart_y)
    half_width = 0.56 * body.heart
    heart = np.clip(1 - np.abs(lean / half_width) ** 2.4 - np.abs((y - heart_y) / 0.42) ** 2.4, 0, 1)
    knob = np.clip(1 - ((x - 0.13) / 0.10) ** 2 - ((y + 0.34) / 0.10) ** 2, 0, 1)
    trachea = np.exp(-(((x + 0.01) / 0.035) ** 2)) * (1 - _sigmoid((y + 0.32) / 0.04))
    field = 0.80 * band + 0.85 * heart**0.6 + 0.45 * np.sqrt(knob) - 0.35 * trachea
    return gaussian_filter(field, size * 0.006).astype(np.float32)


def bones(body: Body, rng: np.random.Generator, size: int) -> Field:
    """Ribs with cortical edges, clavicles, vertebrae and the border of the scapulae."""
    y, x = grid(size)
    field = np.zeros((size, size), np.float32)
    for sign in (-1, 1):
        lateral = sign * (x - body.rotation)
        for index in range(11):
            start = -0.92 + index * body.rib_pitch
            reach = min(0.30 + 0.055 * index, 0.80)
            field += _rib(y, lateral, start, reach, body.rib_slope, 0.026 + 0.001 * index)
            if 1 < index < 8:
                front = start + 0.16
                field += 0.55 * _anterior_rib(y, lateral, front, reach, 0.032)
        clavicle = -0.66 - 0.13 * np.clip(lateral, 0, 1) + 0.05 * np.sin(lateral * 7)
        inside = _sigmoid((lateral - 0.10) / 0.01) * _sigmoid((0.78 - lateral) / 0.03)
        field += 1.1 * _bar(y - clavicle, 0.030) * inside
        scapula = 0.70 + 0.10 * np.sin((y + 0.7) * 2.2)
        field += 0.35 * _sigmoid((lateral - scapula) / 0.015) * np.exp(-(((y + 0.25) / 0.38) ** 4))
    phase = rng.uniform(0, 1)
    vertebra = 0.55 + 0.45 * np.cos(2 * np.pi * (y / 0.115 + phase))
    field += 0.30 * np.exp(-(((x - body.rotation) / 0.075) ** 6)) * (0.7 + 0.3 * vertebra)
    return gaussian_filter(0.34 * body.bone * field, size * 0.0015).astype(np.float32)


def _rib(y: Field, lateral: Field, start: float, reach: float, slope: float, half: float) -> Field:
    """Posterior rib: leaves the spine, runs outwards and down, bends at the chest wall."""
    arc = np.clip(lateral / reach, 0, 1)
    centre = start - 0.03 * np.sin(arc * np.pi) + slope * reach * arc**2.2
    inside = _sigmoid((lateral - 0.05) / 0.01) * _sigmoid((reach - lateral) / 0.012)
    return (_bar(y - centre, half) * inside).astype(np.float32)


def _anterior_rib(y: Field, lateral: Field, start: float, reach: float, half: float) -> Field:
    """Anterior rib: comes from the chest wall and runs inwards and down, fainter, to the cartilage."""
    arc = np.clip((reach - lateral) / reach, 0, 1)
    centre = start + 0.10 + 0.42 * reach * arc**1.4
    inside = _sigmoid((lateral - 0.32 * reach) / 0.05) * _sigmoid((reach - lateral) / 0.012)
    return (_bar(y - centre, half) * inside).astype(np.float32)


def _bar(distance: Field, half: float) -> Field:
    """Cross-section of a hollow bone: a plateau with brighter cortex at both edges."""
    plateau = _sigmoid((half - np.abs(distance)) / (half * 0.12))
    cortex = np.exp(-(((np.abs(distance) - half * 0.9) / (half * 0.22)) ** 2))
    return (0.62 * plateau + 0.50 * cortex).astype(np.float32)


def vessels(lungs: Lungs, body: Body, rng: np.random.Generator, size: int) -> Field:
    """Pulmonary vessels: trees that leave both hila, branch and thin out towards the pleura."""
    canvas = np.zeros((size, size), np.float32)
    for sign in (-1, 1):
        hilum = (-0.06 if sign < 0 else -0.12, sign * 0.19 + body.rotation)
        for angle in np.linspace(-1.35, 1.45, 9) + rng.normal(0, 0.1, 9):
            _grow(canvas, rng, hilum, angle, sign, width=0.016, length=0.30, depth=5, size=size)
        y, x = grid(size)
        canvas += 0.55 * np.exp(-(((x - hilum[1]) / 0.07) ** 2 + ((y - hilum[0]) / 0.12) ** 2))
    return (gaussian_filter(canvas, size * 0.0022) * lungs.both).astype(np.float32)


def _grow(
    canvas: Field,
    rng: np.random.Generator,
    start: tuple[float, float],
    angle: float,
    sign: int,
    width: float,
    length: float,
    depth: int,
    size: int,
) -> None:
    """Draw one vessel as overlapping discs and let it branch; `angle` 0 points outwards, positive down."""
    steps = max(int(length * size / 2), 2)
    bend = rng.normal(0, 0.5)
    t = np.linspace(0, 1, steps)
    direction = angle + bend * t
    y = start[0] + np.cumsum(np.sin(direction)) * length / steps
    x = start[1] + sign * np.cumsum(np.cos(direction)) * length / steps
    rows = np.clip(((y + 1) / 2 * size).astype(int), 0, size - 1)
    columns = np.clip(((x + 1) / 2 * size).astype(int), 0, size - 1)
    radius = max(width * size / 4, 0.5)
    reach = int(np.ceil(radius))
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            chord = 1 - (dy * dy + dx * dx) / (radius + 0.5) ** 2
            if chord > 0:
                target = (np.clip(rows + dy, 0, size - 1), np.clip(columns + dx, 0, size - 1))
                canvas[target] = np.maximum(canvas[target], width * 38 * np.sqrt(chord))
    if depth > 1:
        for spread in (-0.38, 0.38):
            turn = angle + bend + spread + rng.normal(0, 0.12)
            _grow(canvas, rng, (y[-1], x[-1]), turn, sign, width * 0.72, length * 0.62, depth - 1, size)


def _sigmoid(value: NDArray[np.floating]) -> NDArray[np.floating]:
    return 1 / (1 + np.exp(-np.clip(value, -30, 30)))
