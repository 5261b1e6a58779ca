"""The frozen ranges from which acquisitions are drawn, alike for every class so that none is told by them."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict

from napari_clipmed.errors import ClipmedError
from napari_clipmed.shipped import resource


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the lower end {pair[0]} exceeds the upper end {pair[1]}")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Ambient(BaseModel):
    """One preset of the acquisition; every pair is the (low, high) of a draw.

    Lengths in mm, times in seconds, angles in degrees, shares from 0 to 1. `scatter` is scattered over
    primary radiation; `late_moyamoya_share` of the moyamoya studies are of Suzuki's sixth stage; of the
    studies whose external carotid fills, `reflux_share` fill it late and thinly. `net`,
    `small_vessels`, `blush`, `bone_texture` and `unrest` are factors on what the other presets draw.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: Range
    interval_s: Range
    variable_rate_share: float
    quiet_frames: Range
    field_mm: Range
    close_field_mm: Range
    close_field_share: float
    ap_tilt_mean_sd: tuple[float, float]
    lateral_tilt_sd: float
    grey_per_mm: Range
    contrast: Range
    injection_s: Range
    bolus_alpha: Range
    bolus_beta_s: Range
    bolus_growth: Range
    velocity_mm_s: Range
    transit_mean_sd_s: tuple[float, float]
    heavy_motion_share: float
    motion_scale: float
    noise: Range
    drift: Range
    bright_background: Range
    dim_background: Range
    bright_background_share: float
    n_leaves: Range
    # What follows was added later: off by default, so that older presets give what they always gave.
    scatter: Range = (0.0, 0.0)
    blur_mm: Range = (0.0, 0.0)
    shutter_share: float = 0.0
    catheter_share: float = 0.0
    breathing_mm: Range = (0.0, 0.0)
    late_moyamoya_share: float = 0.0
    common_carotid_share: float = 0.12
    reflux_share: float = 0.0
    collaterals: Range = (0.0, 0.0)
    net: Range = (1.0, 1.0)
    small_vessels: Range = (1.0, 1.0)
    blush: Range = (1.0, 1.0)
    blush_texture: Range = (0.0, 0.0)
    bone_texture: Range = (1.0, 1.0)
    unrest: Range = (1.0, 1.0)


@lru_cache
def load_ambient(preset: str = "training") -> Ambient:
    """The shipped preset of that name.

    Raises
    ------
    ClipmedError
        When there is no such preset.
    """
    presets = yaml.safe_load(resource("configs", "phantom_dsa.yaml").read_text(encoding="utf-8"))["presets"]
    if preset not in presets:
        raise ClipmedError(
            f"No DSA phantom preset is called {preset!r}.", f"Choose one of: {', '.join(presets)}."
        )
    return Ambient.model_validate(presets["training"] | presets[preset])
