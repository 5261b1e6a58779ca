"""A patient's circulation as a disease leaves it, and the vessels that a disease adds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.errors import ClipmedError
from napari_clipmed.phantoms.dsa.anatomy import Anatomy
from napari_clipmed.phantoms.dsa.haemodynamics import Bolus
from napari_clipmed.phantoms.dsa.tree import Points

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Vessels outside the tree: an aneurysm's dome, a nidus, a basal net, an early vein."""

    kind: str
    points: Points
    radius: FloatArray
    length: FloatArray
    arrival: FloatArray
    gain: float = 1.0
    linger_s: float = 0.0
    scattered: bool = False

    @property
    def along(self) -> Points:
        """From each point's predecessor; 0 at the first, and where points are scattered. Shape (K, 3)."""
        if self.scattered:
            return np.zeros_like(self.points)
        return np.diff(self.points, axis=0, prepend=self.points[:1])


@dataclass
class Circulation:
    """The tree as the disease leaves it, and what the disease adds.

    Parameters
    ----------
    radius, arrival, gain : (N,) arrays
        Of the arterial nodes: millimetres, seconds after the root, and share of undiluted contrast.
    parts : list of Part
        Added vessels.
    lesion_points, lesion_radius : (K, 3), (K,) arrays
        Balls whose shadow is the lesion mask; none for Control.
    site : str
        Where it is.
    severity : dict
        How bad: ``stage``, ``diameter_mm``, ``nidus_mm`` or ``stenosis_percent``.
    sentence : str
        The report's conclusion.
    tissue_gain : float
        Relative strength of the capillary blush.
    """

    radius: FloatArray
    arrival: FloatArray
    gain: FloatArray
    parts: list[Part] = field(default_factory=list)
    lesion_points: Points = field(default_factory=lambda: np.zeros((0, 3)))
    lesion_radius: FloatArray = field(default_factory=lambda: np.zeros(0))
    site: str = ""
    severity: dict[str, float | int | str] = field(default_factory=dict)
    sentence: str = "No cerebrovascular disease."
    tissue_gain: float = 1.0


@dataclass(frozen=True)
class Draw:
    """What a disease is drawn for.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    bolus : Bolus
        The injection.
    rng : numpy Generator
        Source of site and shape.
    worse : float
        0 mild to 1 severe.
    site : str or None
        Where, if that is wanted.
    collaterals : float
        Share of the flow lost beyond a closed carotid fork that neighbours make up for.
    net : float
        Factor on the basal net of moyamoya disease: more, wider and further reaching vessels.
    """

    anatomy: Anatomy
    bolus: Bolus
    rng: np.random.Generator
    worse: float
    site: str | None = None
    collaterals: float = 0.0
    net: float = 1.0

    @property
    def side(self) -> str:
        """``"left"`` or ``"right"``: the injected side, the patient's."""
        return side_name(self.anatomy)

    def healthy(self) -> Circulation:
        """The circulation before the disease."""
        tree = self.anatomy.arteries
        # Blood of the other side thins what crosses the anterior communicating artery.
        gain = np.where(tree.segment == "A2 crossed", 0.7, 1.0)
        return Circulation(tree.radius.copy(), self.bolus.travel(tree), gain)

    def choose_site(self, shares: dict[str, float]) -> str:
        """The wanted site, or one of the keys, as often as its share says."""
        if self.site is None:
            return str(self.rng.choice(list(shares), p=list(shares.values())))
        if self.site not in shares:
            raise ClipmedError(
                f"{self.site!r} is no site of this disease.", f"Choose one of: {', '.join(shares)}."
            )
        return self.site


def side_name(anatomy: Anatomy) -> str:
    """``"left"`` or ``"right"``: the injected side, the patient's."""
    return "left" if anatomy.side > 0 else "right"
