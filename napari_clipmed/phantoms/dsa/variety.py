"""What real runs vary in beyond the flow: restless patients, uneven bone, structured blush, reflux.

Like `extras`, drawn from a stream of random numbers of its own, so that the presets without it give the
studies they always gave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.acquisition import Motion
from napari_clipmed.phantoms.dsa.circulation import Circulation
from napari_clipmed.phantoms.dsa.config import Ambient, Range
from napari_clipmed.phantoms.dsa.external_carotid import EXTERNAL
from napari_clipmed.phantoms.dsa.projection import enlarge
from napari_clipmed.phantoms.dsa.tree import Tree

TEXTURE_KNOTS = ((44, 0.6), (92, 0.8))
"""Grid points along a side, and share of the strength, of the blush's structure."""


@dataclass(frozen=True)
class Variety:
    """Drawn once a study, alike for every class; the defaults change nothing.

    Parameters
    ----------
    unrest : float
        Factor on the patient's motion.
    bone_texture : float
        Factor on the unevenness of bone.
    blush : float
        Factor on the capillary blush.
    blush_texture : float
        Standard deviation of the blush's structure, relative to the blush.
    reflux_delay_s, reflux_gain : float
        Delay and share of contrast in the external carotid.
    collaterals : float
        Share of the flow lost beyond a closed carotid fork that neighbours make up for.
    net : float
        Factor on the basal net of moyamoya disease.
    """

    unrest: float = 1.0
    bone_texture: float = 1.0
    blush: float = 1.0
    blush_texture: float = 0.0
    reflux_delay_s: float = 0.0
    reflux_gain: float = 1.0
    collaterals: float = 0.0
    net: float = 1.0

    def moved(self, motion: Motion) -> Motion:
        """The motion of this patient."""
        if self.unrest == 1:
            return motion
        return Motion(motion.head * self.unrest, motion.jaw * self.unrest, motion.turn * self.unrest)

    def refluxed(self, circulation: Circulation, arteries: Tree) -> Circulation:
        """The external carotid fills late and thinly where contrast only spills into it."""
        if not self.reflux_delay_s:
            return circulation
        external = np.isin(arteries.segment, EXTERNAL)
        return replace(
            circulation,
            arrival=circulation.arrival + self.reflux_delay_s * external,
            gain=circulation.gain * np.where(external, self.reflux_gain, 1.0),
        )

    def structured(self, blush: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """The smooth blush (T, H, W), with the grain of the vessels that are too small to draw."""
        if not self.blush_texture:
            return blush
        texture = np.zeros(blush.shape[1:], np.float32)
        for knots, share in TEXTURE_KNOTS:
            grain = rng.normal(size=(1, knots, knots)).astype(np.float32)
            texture += np.float32(share) * enlarge(grain, blush.shape[-1])[0]
        return blush * np.exp(np.float32(self.blush_texture) * texture)


def draw_variety(seed: int, ambient: Ambient) -> Variety:
    """Draw what the preset asks for."""
    rng = np.random.default_rng([seed, 9])
    spills = rng.random() < ambient.reflux_share
    delay, thinned = rng.uniform(0.4, 2.5), rng.uniform(0.15, 0.7)
    return Variety(
        unrest=_factor(rng, ambient.unrest),
        bone_texture=_factor(rng, ambient.bone_texture),
        blush=_factor(rng, ambient.blush),
        blush_texture=float(rng.uniform(*ambient.blush_texture)),
        reflux_delay_s=delay if spills else 0.0,
        reflux_gain=thinned if spills else 1.0,
        collaterals=float(rng.uniform(*ambient.collaterals)),
        net=_factor(rng, ambient.net),
    )


def _factor(rng: np.random.Generator, limits: Range) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))
