"""Words that every picture of a simulated study carries in its pixels."""

from __future__ import annotations

from collections.abc import Sequence
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


def captioned(picture: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
    """A colour picture with lines of text burned into its upper left corner, small enough to be whole.

    Parameters
    ----------
    picture : (H, W, 3) uint8 array
    lines : sequence of str
    """
    image = Image.fromarray(picture)
    size = max(11, round(min(image.size) / 28))
    while size > 7 and max(font_of(size).getlength(line) for line in lines) > image.width - size:
        size -= 1
    for number, line in enumerate(lines):
        _draw(image, line, (size // 2, size // 2 + round(1.3 * size * number)), size, (255, 255, 255))
    return np.asarray(image)


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
    _draw(image, SIMULATED, (size // 2, image.height - round(1.6 * size)), size, colour)


def _draw(image: Image.Image, words: str, place: tuple[int, int], size: int, colour: Any) -> None:
    """Letters with a black edge, readable on every grey."""
    ImageDraw.Draw(image).text(
        place, words, fill=colour, font=font_of(size), stroke_width=max(1, size // 12),
        stroke_fill=0 if image.mode == "L" else (0, 0, 0),
    )  # fmt: skip
