"""The five classes, each a function from a patient to a circulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_clipmed.errors import ClipmedError
from napari_clipmed.phantoms.dsa.anatomy import Anatomy
from napari_clipmed.phantoms.dsa.aneurysm import aneurysm, infundibulum
from napari_clipmed.phantoms.dsa.circulation import Circulation, Draw
from napari_clipmed.phantoms.dsa.haemodynamics import Bolus
from napari_clipmed.phantoms.dsa.malformation import malformation
from napari_clipmed.phantoms.dsa.moyamoya import moyamoya
from napari_clipmed.phantoms.dsa.stenosis import stenosis


def control(draw: Draw) -> Circulation:
    """No disease, with the patient's normal variants."""
    circulation = draw.healthy()
    if "infundibulum" in draw.anatomy.variants:
        circulation.parts.append(infundibulum(draw, circulation))
    circulation.sentence = (
        f"Normal {draw.side} {draw.anatomy.injection} angiogram, no disease of the vessels."
    )
    if draw.anatomy.variants:
        circulation.sentence += f" Normal variants: {', '.join(draw.anatomy.variants)}."
    return circulation


DISEASES: dict[str, Callable[[Draw], Circulation]] = {
    "Control": control,
    "MMD": moyamoya,
    "IA": aneurysm,
    "AM": malformation,
    "AS": stenosis,
}
LABELS = tuple(DISEASES)


def circulate(
    label: str,
    anatomy: Anatomy,
    bolus: Bolus,
    rng: np.random.Generator,
    severity: float | None = None,
    site: str | None = None,
    collaterals: float = 0.0,
    net: float = 1.0,
) -> Circulation:
    """The circulation of one patient with one disease.

    Parameters
    ----------
    label : str
        One of `LABELS`.
    anatomy, bolus
        The patient and the injection.
    rng : numpy Generator
        Source of the draws of site, severity and shape.
    severity : float, optional
        0 mild to 1 severe; drawn if not given.
    site : str, optional
        Where; drawn if not given. Control and moyamoya disease have no choice.
    collaterals, net : float
        As `Draw`.

    Raises
    ------
    ClipmedError
        For a label or a site that does not exist.
    """
    if label not in DISEASES:
        raise ClipmedError(f"The phantom knows no disease {label!r}.", f"Choose one of: {', '.join(LABELS)}.")
    drawn = float(rng.beta(1.3, 1.0))
    worse = drawn if severity is None else severity
    return DISEASES[label](Draw(anatomy, bolus, rng, worse, site, collaterals, net))
