"""Another hospital: a console that looks different, and diseases where they are seldom found.

A shift is drawn on top of an acquisition preset. It is what a fine-tuned model has to learn from a few
corrected studies, so its ranges are frozen in ``phantom_dsa_<name>.yaml``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import gaussian_filter

from napari_clipmed.errors import ClipmedError
from napari_clipmed.phantoms.dsa.config import Range
from napari_clipmed.shipped import resource

Frames = NDArray[np.float32]


class Look(BaseModel):
    """What a console makes of a run.

    Parameters
    ----------
    aperture : float
        Diameter of the round field as a share of the side; black outside.
    landmark : float
        Share of the native anatomy that is left behind the vessels.
    blur_px : float
        Standard deviation of the detector's blur, pixels.
    sharpen, sharpen_px : float
        Strength and width of the edge enhancement.
    gamma : float
        Exponent of the grey curve.
    lines : float
        Standard deviation of the noise that a video line has in common.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    aperture: float
    landmark: float
    blur_px: float
    sharpen: float
    sharpen_px: float
    gamma: float
    lines: float

    def show(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Frames (T, H, W) of greys 0…1 as this console shows them."""
        field = (0, self.blur_px, self.blur_px)
        soft = gaussian_filter(frames, field)
        wide = gaussian_filter(soft, (0, self.sharpen_px, self.sharpen_px))
        shown = np.clip(soft + self.sharpen * (soft - wide), 0, 1) ** self.gamma
        shown += self.lines * rng.standard_normal((*shown.shape[:2], 1)).astype(np.float32)
        axis = np.linspace(-1, 1, shown.shape[-1])
        outside = np.hypot(*np.meshgrid(axis, axis, indexing="ij")) > self.aperture
        shown[:, outside] = 0
        return np.clip(shown, 0, 1).astype(np.float32)


class Presentation(BaseModel):
    """Where diseases sit and how bad they are; what is not named is drawn as everywhere.

    Parameters
    ----------
    sites : dict
        Shares of the sites of a label.
    severity : dict
        Least and greatest severity of a label, 0 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sites: dict[str, dict[str, float]] = Field(default_factory=dict)
    severity: dict[str, Range] = Field(default_factory=dict)

    def draw(self, label: str, rng: np.random.Generator) -> tuple[float | None, str | None]:
        """Severity and site of one study; None where nothing is said."""
        severity = float(rng.uniform(*self.severity[label])) if label in self.severity else None
        shares = self.sites.get(label)
        site = str(rng.choice(list(shares), p=list(shares.values()))) if shares else None
        return severity, site


class Shift(BaseModel):
    """One other hospital: the preset of its acquisition, its console, its patients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    acquisition: str
    look: Look
    presentation: Presentation


@lru_cache
def load_shift(name: str = "shifted") -> Shift:
    """The shipped shift of that name.

    Raises
    ------
    ClipmedError
        When there is no such shift.
    """
    try:
        text = resource("configs", f"phantom_dsa_{name}.yaml").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ClipmedError(f"No DSA phantom shift is called {name!r}.", "There is: shifted.") from error
    return Shift.model_validate(yaml.safe_load(text))
