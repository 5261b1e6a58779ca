"""Colours and legends of bolus maps."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clipmed.inference.bolus import BolusMaps
from napari_clipmed.inference.colour_maps import (
    Palette,
    Quantity,
    Scale,
    colours_of,
    common_scale,
    draw_legend,
    legend,
    render,
)

GREEN_BLIND = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
"""Deuteranopia in linear RGB (Machado, Oliveira and Fernandes, IEEE TVCG 2009, 15:1291, severity 1)."""


def some_maps(low: float = 1.0, high: float = 5.0, unit: str = "s") -> BolusMaps:
    """Time runs from left to right; the upper half is dark, the lower half faint, the last column empty."""
    time = np.tile(np.linspace(low, high, 40, dtype=np.float32), (20, 1))
    peak = np.where(np.arange(20)[:, None] < 10, 1.0, 0.1) * np.ones_like(time)
    time[:, -1] = peak[:, -1] = np.nan
    return BolusMaps(
        time - 0.5, time, peak.astype(np.float32), peak, time, np.zeros((20, 40), bool), unit, 0.05
    )


def test_early_is_red_and_late_is_blue() -> None:
    picture = render(some_maps()).astype(int)
    assert picture.shape == (20, 40, 4)
    red, green, blue = picture[0, 0, :3]
    assert red > 200 and green < 60 and blue < 60
    red, green, blue = picture[0, -2, :3]
    assert blue > 200 and red < 80


def test_faint_is_darker_and_nothing_is_transparent() -> None:
    picture = render(some_maps())
    assert picture[0, 5, :3].max() > 2 * picture[15, 5, :3].max() > 0
    assert picture[0, -1].tolist() == [0, 0, 0, 255]
    clear = render(some_maps(), dark_ground=False)
    assert clear[0, -1, 3] == 0 and clear[0, 5, 3] > 2 * clear[15, 5, 3] > 0
    assert clear[15, 5, :3].tolist() == clear[0, 5, :3].tolist()


def test_both_views_share_one_scale() -> None:
    early, late = some_maps(1, 3), some_maps(4, 8)
    scale = common_scale([early, late], Quantity.TIME_TO_PEAK)
    assert 1.0 <= scale.low <= 1.2 and 7.7 <= scale.high <= 8.0
    assert common_scale([], Quantity.TIME_TO_PEAK) == Scale(0.0, 1.0)
    assert common_scale([early], Quantity.AREA).low == 0.0


def test_the_legend_says_seconds_in_round_numbers() -> None:
    found = legend(some_maps(), Quantity.TIME_TO_PEAK, Scale(0.9, 5.2))
    assert (found.title, found.unit) == ("Time to peak", "s")
    assert [label for _, label in found.ticks] == ["2", "4"]
    assert [share for share, _ in found.ticks] == pytest.approx([(2 - 0.9) / 4.3, (4 - 0.9) / 4.3])
    assert found.bar[0].tolist() == [255, 0, 0]
    assert legend(some_maps(unit="frames"), Quantity.TIME_TO_PEAK).unit == "frames"
    assert legend(some_maps(), Quantity.AREA).unit == "opacity · s"
    assert [label for _, label in legend(some_maps(), Quantity.TRANSIT, Scale(0.0, 2.1)).ticks] == [
        "0",
        "1",
        "2",
    ]


@pytest.mark.parametrize("width", [120, 320, 900])
def test_a_drawn_legend_fits_and_is_readable(width: int) -> None:
    picture = draw_legend(legend(some_maps()), width, words=("SIMULATED",))
    assert picture.shape[1:] == (width, 3)
    assert (picture.min(axis=2) > 200).sum() > 50


def test_the_safe_palette_is_told_apart_without_green_cones() -> None:
    colours = colours_of(Quantity.TIME_TO_PEAK, Palette.SAFE) / 255.0
    seen = np.clip((colours**2.2) @ GREEN_BLIND.T, 0, 1) ** (1 / 2.2)
    warmth = seen[:, 0] - seen[:, 2]  # the axis that every colour-blind reader keeps: yellow against blue
    assert (np.diff(warmth[::8]) < 0.01).all() and warmth[0] - warmth[-1] > 1
    assert (colours.max(axis=1) > 0.99).all()
