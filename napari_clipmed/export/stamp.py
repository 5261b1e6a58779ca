"""Words that every picture of a simulated study carries in its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIMULATED = "SIMULATED"
RESEARCH_USE = "Research use only, not for diagnosis"


def stamped(picture: NDArray[np.uint8], synthetic: bool) -> Image.Image:
    """A picture, with SIMULATED burned into its lower left corner where the study is synthetic.

    Parameters
    ----------
    picture : (H, W) or (H, W, 3) uint8 array
    synthetic : bool
        Of the study.
    """
    image = Image.fromarray(picture)
    if synthetic:
        white = 255 if image.mode == "L" else (255, 255, 255)
        _write(image, white)
    return image


def ink_of(height: int, width: int) -> NDArray[np.bool_]:
    """Where the letters of SIMULATED stand in a frame of that size, for pictures of other depths, (H, W)."""
    image = Image.new("L", (width, height))
    _write(image, 255)
    return np.asarray(image) > 127


def font_of(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of all exported pictures, by its height in pixels."""
    return ImageFont.load_default(size=size)


def _write(image: Image.Image, colour: Any) -> None:
    size = max(9, round(min(image.size) / 24))
    black = 0 if image.mode == "L" else (0, 0, 0)
    ImageDraw.Draw(image).text(
        (size // 2, image.height - round(1.6 * size)), SIMULATED, fill=colour, font=font_of(size),
        stroke_width=max(1, size // 12), stroke_fill=black,
    )  # fmt: skip
