"""Colours of the bolus maps: hue tells the time, brightness how dark the vessel became.

The clinical palette is the one that readers know from colour-coded DSA: what fills early is red, what fills
late is blue (Strother et al., AJNR 2010, 31:919). Red and green are alike to one man in twelve, so a second
palette goes from orange over white to blue, which all common colour vision tells apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.inference.bolus import BolusMaps, Map

Pixels = NDArray[np.uint8]

VIRIDIS = np.array(
    [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=np.float64
)
"""Anchors of matplotlib's viridis, for amounts."""

BRIGHTNESS_GAMMA = 0.6
"""Lifts the blush, whose opacity is a few per cent of an artery's."""

FAINTEST = 0.15
"""Brightness of a pixel that is just above the noise."""

UNTOLD = 110.0
"""Grey of the densest pixel whose value cannot be told."""

LEVELS = 256


class Quantity(StrEnum):
    """What a map tells; the values are names of fields of `BolusMaps`."""

    TIME_TO_PEAK = "time_to_peak"
    ARRIVAL = "arrival"
    TRANSIT = "transit"
    PEAK = "peak"
    AREA = "area"

    @property
    def spoken(self) -> str:
        """As a radiologist says it."""
        return TITLES[self]

    @property
    def is_time(self) -> bool:
        """Whether hue is time; amounts go from dark to light instead."""
        return self in (Quantity.TIME_TO_PEAK, Quantity.ARRIVAL, Quantity.TRANSIT)

    def unit(self, maps: BolusMaps) -> str:
        """Unit of the map."""
        if self.is_time:
            return maps.time_unit
        return "opacity" if self is Quantity.PEAK else f"opacity · {maps.time_unit}"


TITLES = {
    Quantity.TIME_TO_PEAK: "Time to peak",
    Quantity.ARRIVAL: "Bolus arrival",
    Quantity.TRANSIT: "Mean transit time",
    Quantity.PEAK: "Peak opacity",
    Quantity.AREA: "Area under the curve",
}


class Palette(StrEnum):
    """How times are coloured."""

    CLINICAL = "clinical"
    SAFE = "colour-blind safe"


ANCHORS = {
    Palette.CLINICAL: ("#FF0000", "#FF9900", "#FFFF00", "#33DD00", "#00DDCC", "#0077FF", "#1111FF"),
    Palette.SAFE: ("#FF8800", "#FFC266", "#FFFFFF", "#7FC4FF", "#0A6CFF"),
}
"""From early to late, all of full brightness, so that brightness is free to tell the opacity."""


@dataclass(frozen=True)
class Scale:
    """Values shown from the first colour to the last."""

    low: float
    high: float

    def share(self, values: Map) -> Map:
        """Values as 0…1 along the scale; NaN stays NaN."""
        return np.clip((values - self.low) / max(self.high - self.low, 1e-9), 0, 1)


@dataclass(frozen=True, eq=False)
class Legend:
    """What the colours mean, as data; `draw_legend` paints it.

    Parameters
    ----------
    title, unit : str
        What the map shows.
    bar : (L, 3) uint8 array
        Colours from `low` to `high`.
    ticks : tuple of (float, str)
        Place along the bar, 0…1, and its label.
    """

    title: str
    unit: str
    bar: Pixels
    ticks: tuple[tuple[float, str], ...]


def values_of(maps: BolusMaps, which: Quantity) -> Map:
    """The map of a quantity, (H, W) float32, NaN where there is none."""
    found: Map = getattr(maps, which.value)
    return found


def common_scale(all_maps: Sequence[BolusMaps], which: Quantity) -> Scale:
    """One scale for all views: the middle 96 % of the values, weighted by opacity, so that vessels decide.

    Times start at a tenth of a unit below, amounts at 0; a study without contrast gives 0…1.
    """
    values, weights = [], []
    for maps in all_maps:
        found = values_of(maps, which)
        seen = np.isfinite(found)
        if seen.any():
            values.append(found[seen])
            weights.append(np.minimum(maps.peak[seen] / np.percentile(maps.peak[seen], 99), 1) ** 2)
    if not values:
        return Scale(0.0, 1.0)
    flat, weight = np.concatenate(values).astype(np.float64), np.concatenate(weights).astype(np.float64)
    order = np.argsort(flat)
    share = np.cumsum(weight[order])
    low, high = np.interp([0.02 * share[-1], 0.98 * share[-1]], share, flat[order])
    low = float(np.floor(low * 10) / 10) if which.is_time and which is not Quantity.TRANSIT else 0.0
    high = float(np.ceil(high * 10) / 10) if which.is_time else float(high)
    return Scale(low, high if high > low else low + 1.0)


def colours_of(which: Quantity, palette: Palette = Palette.CLINICAL) -> Pixels:
    """The (256, 3) colours of a quantity, from the lowest value to the highest."""
    if which.is_time:
        anchors = np.array(
            [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in ANCHORS[palette]], dtype=float
        )
    else:
        anchors = VIRIDIS
    places, levels = np.linspace(0, 1, len(anchors)), np.linspace(0, 1, LEVELS)
    table = np.stack([np.interp(levels, places, anchors[:, channel]) for channel in range(3)], axis=-1)
    return np.rint(table).astype(np.uint8)


def brightness(maps: BolusMaps) -> Map:
    """How bright each pixel is drawn, (H, W) in 0…1, from its peak opacity; 0 where no contrast was seen."""
    seen = np.isfinite(maps.peak)
    if not seen.any():
        return np.zeros(maps.peak.shape, np.float32)
    strong = float(np.percentile(maps.peak[seen], 97))
    share = np.clip(np.nan_to_num(maps.peak) / max(strong, 1e-9), 0, 1) ** BRIGHTNESS_GAMMA
    return np.where(seen, FAINTEST + (1 - FAINTEST) * share, 0).astype(np.float32)


def render(
    maps: BolusMaps,
    which: Quantity = Quantity.TIME_TO_PEAK,
    scale: Scale | None = None,
    palette: Palette = Palette.CLINICAL,
    dark_ground: bool = True,
) -> Pixels:
    """A map in colours.

    Parameters
    ----------
    maps : BolusMaps
    which : Quantity
        Which of them.
    scale : Scale, optional
        Values from the first colour to the last; give the `common_scale` of all views: one legend for all.
    palette : Palette
        Of times; amounts are always drawn in viridis.
    dark_ground : bool
        True: opaque, on black, as consoles show it; where contrast was seen but no value can be told, grey.
        False: full colours whose alpha is the brightness, to lie
        over a frame.

    Returns
    -------
    (H, W, 4) uint8 array
        RGBA, not premultiplied; alpha 0 where there is no value and the ground is not dark.
    """
    scale = scale or common_scale([maps], which)
    values = values_of(maps, which)
    known = np.isfinite(values)
    level = np.where(known, scale.share(np.where(known, values, 0)) * (LEVELS - 1), 0)
    colours = colours_of(which, palette)[np.rint(level).astype(np.intp)]
    light = np.where(known, brightness(maps), 0) if which.is_time else known.astype(np.float32)
    picture = np.empty((*values.shape, 4), np.uint8)
    if dark_ground:
        untold = UNTOLD * brightness(maps) * ~known
        picture[..., :3] = np.rint(colours * light[..., None] + untold[..., None])
        picture[..., 3] = 255
    else:
        picture[..., :3] = colours
        picture[..., 3] = np.rint(255 * light)
    return picture


def legend(
    maps: BolusMaps,
    which: Quantity = Quantity.TIME_TO_PEAK,
    scale: Scale | None = None,
    palette: Palette = Palette.CLINICAL,
) -> Legend:
    """The legend of a rendered map: title, unit, colours and round numbers along them."""
    scale = scale or common_scale([maps], which)
    bar = colours_of(which, palette)
    step = _round_step((scale.high - scale.low) / 4)
    numbers = np.arange(np.ceil(scale.low / step - 1e-9), np.floor(scale.high / step + 1e-9) + 1) + 0.0
    marks = numbers * step + 0.0
    decimals = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    span = scale.high - scale.low
    ticks = tuple((float((mark - scale.low) / span), f"{mark:.{decimals}f}") for mark in marks)
    return Legend(which.spoken, which.unit(maps), bar, ticks)


def _round_step(step: float) -> float:
    """The nearest 1, 2 or 5 times a power of ten that is not smaller."""
    power = 10.0 ** np.floor(np.log10(max(step, 1e-9)))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9)))


def draw_legend(legend: Legend, width: int = 320, words: Sequence[str] = ()) -> Pixels:
    """Paint a legend: title, colour bar with its numbers, further lines; light on black.

    Parameters
    ----------
    legend : Legend
    width : int
        In pixels, at least 120; the height follows.
    words : sequence of str
        Lines below, such as SIMULATED or what was left out.

    Returns
    -------
    (h, width, 3) uint8 array
    """
    from PIL import Image, ImageDraw, ImageFont

    size = max(11, width // 26)
    font = ImageFont.load_default(size=size)
    margin, bar_height, line = size, size, round(1.5 * size)
    height = 2 * line + bar_height + size // 2 + line * len(words)
    sheet = Image.new("RGB", (width, height), (0, 0, 0))
    draw = ImageDraw.Draw(sheet)
    unit = {"s": "seconds from the first frame", "frames": "frame number, times unknown"}
    of_time = legend.title in (TITLES[Quantity.TIME_TO_PEAK], TITLES[Quantity.ARRIVAL])
    said = unit.get(legend.unit, legend.unit) if of_time else legend.unit
    draw.text((margin, size // 4), f"{legend.title}, {said}", fill=(235, 235, 235), font=font)
    length = width - 2 * margin
    columns = np.rint(np.linspace(0, len(legend.bar) - 1, length)).astype(int)
    bar = np.repeat(legend.bar[columns][None], bar_height, axis=0)
    sheet.paste(Image.fromarray(bar), (margin, line))
    for share, label in legend.ticks:
        x = margin + share * (length - 1)
        draw.line([(x, line + bar_height), (x, line + bar_height + size // 4)], fill=(235, 235, 235))
        draw.text((x, line + bar_height + size // 4), label, fill=(235, 235, 235), font=font, anchor="ma")
    for number, text in enumerate(words):
        top = 2 * line + bar_height + size // 4 + number * line
        draw.text((margin, top), text, fill=(169, 177, 186), font=font)
    return np.asarray(sheet)
