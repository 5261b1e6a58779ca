"""What else is on a film: side letters, electrodes, tubes, marks and the scanner's own look.

These are the confounders of the causal story: under a knob they go with infection in training and not in a
shifted test set, so that a model that reads the decoration instead of the lung is found out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from napari_clipmed.errors import ClipmedError
from napari_clipmed.phantoms.cxr.anatomy import Field
from napari_clipmed.shipped import resource


@dataclass(frozen=True)
class Style:
    """Scanner and set-up: `portable` (AP, with lines), contrast, sharpness, noise, collimation."""

    portable: bool
    gamma: float
    sharpen: float
    dose: float
    collimation: float
    side_letter: str
    electrodes: int
    tube: bool


@dataclass(frozen=True)
class StyleRanges:
    """Ranges (low, high) from which a hospital's styles are drawn, and its share of portable films."""

    portable_share: float = 0.45
    gamma: tuple[float, float] = (1.1, 1.9)
    sharpen: tuple[float, float] = (0.0, 1.2)
    dose: tuple[float, float] = (1.5e3, 2e4)
    collimation: tuple[float, float] = (0.0, 0.06)


HERE = StyleRanges()
"""The hospital whose films are drawn unless another is wanted."""


def load_style_ranges(name: str = "shifted") -> StyleRanges:
    """The shipped ranges of that name, ``phantom_cxr_<name>.yaml``.

    Raises
    ------
    ClipmedError
        When there are none.
    """
    try:
        text = resource("configs", f"phantom_cxr_{name}.yaml").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ClipmedError(
            f"No style of chest films is called {name!r}.", "There are: shifted, distant."
        ) from error
    words: dict[str, Any] = yaml.safe_load(text)
    pairs = {key: tuple(value) for key, value in words.items() if isinstance(value, list)}
    return StyleRanges(portable_share=words["portable_share"], **pairs)


def draw_style(
    rng: np.random.Generator, infected: bool, confounding: float, ranges: StyleRanges = HERE
) -> Style:
    """Draw a style; with `confounding` in [0, 1] the portable look follows infection that often.

    Parameters
    ----------
    rng : Generator
    infected : bool
        Whether the film shows any infected area.
    confounding : float
        0: decoration is independent of infection; 1: every infected film is portable with lines and no
        healthy one is; -1: the reverse, for shifted test sets.
    ranges : StyleRanges
        Of the hospital.
    """
    if rng.random() < abs(confounding):
        portable = infected if confounding > 0 else not infected
    else:
        portable = bool(rng.random() < ranges.portable_share)
    return Style(
        portable=portable,
        gamma=rng.uniform(*ranges.gamma),
        sharpen=rng.uniform(*ranges.sharpen),
        dose=float(np.exp(rng.uniform(*np.log(ranges.dose)))),
        collimation=rng.uniform(*ranges.collimation),
        side_letter=str(rng.choice(["R", "L", "", ""])),
        electrodes=int(rng.integers(2, 6)) if portable else 0,
        tube=bool(portable and rng.random() < 0.6),
    )


def metal(style: Style, rng: np.random.Generator, size: int) -> Field:
    """Attenuation of electrodes with their leads, and of tubes with a radio-opaque line."""
    picture = Image.new("F", (size, size), 0.0)
    pen = ImageDraw.Draw(picture)
    for _ in range(style.electrodes):
        row, column = rng.uniform(0.15, 0.8) * size, rng.uniform(0.12, 0.88) * size
        radius = 0.011 * size
        pen.ellipse((column - radius, row - radius, column + radius, row + radius), fill=0.9)
        end = (rng.uniform(0, size), rng.choice([0.0, float(size)]))
        middle = ((column + end[0]) / 2 + rng.normal(0, 0.06 * size), (row + end[1]) / 2)
        pen.line([(column, row), middle, end], fill=0.35, width=max(size // 260, 1), joint="curve")
    if style.tube:
        column = size / 2 + rng.normal(0, 0.01 * size)
        pen.line([(column, 0), (column, 0.36 * size)], fill=0.45, width=max(size // 170, 1))
        shift = rng.choice([-1, 1]) * 0.16 * size
        catheter = [(size / 2 + shift, 0.10 * size), (size / 2 - 0.05 * size, 0.28 * size)]
        pen.line([*catheter, (size / 2 - 0.07 * size, 0.45 * size)], fill=0.30, width=max(size // 256, 1))
    return gaussian_filter(np.asarray(picture, dtype=np.float32), size * 0.0012)


def burn_marks(grey: NDArray[np.float32], style: Style) -> NDArray[np.float32]:
    """Burn the side letter and the portable mark into the finished film (values in [0, 1])."""
    size = grey.shape[0]
    picture = Image.fromarray((np.clip(grey, 0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    if style.side_letter:
        # R marks the patient's right, which is the left of the picture.
        column = 0.06 if style.side_letter == "R" else 0.89
        pen.text(
            (column * size, 0.05 * size), style.side_letter, 245, font=ImageFont.load_default(size * 0.06)
        )
    if style.portable:
        pen.text((0.70 * size, 0.02 * size), "PORTABLE AP", 220, font=ImageFont.load_default(size * 0.028))
    marked = np.asarray(picture, dtype=np.float32) / 255
    return np.where(marked != np.clip(grey, 0, 1), np.maximum(marked, grey), grey).astype(np.float32)
