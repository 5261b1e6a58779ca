"""One simulated chest film with its truth, from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_clipmed.phantoms.cxr import anatomy, decorations, findings, sentences


@dataclass(frozen=True)
class FilmRecipe:
    """What to draw; everything that is None is drawn from the seed.

    Parameters
    ----------
    size : int
        Rows and columns of the film.
    n_areas : int or None
        Infected areas asked for, 0 to 6.
    confounding : float
        See `decorations.draw_style`.
    subset_prompts : float
        Share of films whose sentence names only some of the areas, with the mask to match.
    style : StyleRanges
        Of the hospital.
    """

    size: int = 512
    n_areas: int | None = None
    confounding: float = 0.0
    subset_prompts: float = 0.3
    style: decorations.StyleRanges = decorations.StyleRanges()


@dataclass(frozen=True, eq=False)
class Film:
    """A simulated film.

    Parameters
    ----------
    image : (H, W) uint16 array
        12-bit grey, bone bright (MONOCHROME2).
    mask : (H, W) bool array
        The areas that `prompt` names.
    all_areas : (H, W) uint8 array
        Every infected area, numbered from 1.
    prompt, paraphrase : str
        QaTa sentence and a freer one, for the same areas; sides of the picture.
    lungs : Lungs
        True lung fields.
    truth : dict
        Style, textures, zones: what a benchmark stratifies by.
    """

    image: NDArray[np.uint16]
    mask: NDArray[np.bool_]
    all_areas: NDArray[np.uint8]
    prompt: str
    paraphrase: str
    lungs: anatomy.Lungs
    truth: dict[str, object] = field(default_factory=dict)


def draw_film(seed: int | np.random.SeedSequence, recipe: FilmRecipe | None = None) -> Film:
    """Draw one film; the same seed and recipe give the same film."""
    recipe = recipe or FilmRecipe()
    patient_seed, finding_seed, style_seed, noise_seed = np.random.SeedSequence(
        seed if isinstance(seed, int) else seed.generate_state(4).tolist()
    ).spawn(4)
    rng = np.random.default_rng(patient_seed)
    body = anatomy.draw_body(rng)
    lungs = anatomy.lung_fields(body, recipe.size)
    finding_rng = np.random.default_rng(finding_seed)
    wanted = recipe.n_areas
    if wanted is None:
        wanted = int(finding_rng.choice(7, p=[0.12, 0.27, 0.27, 0.14, 0.10, 0.06, 0.04]))
    areas = findings.draw_areas(lungs, wanted, finding_rng)
    style = decorations.draw_style(
        np.random.default_rng(style_seed), bool(areas), recipe.confounding, recipe.style
    )

    attenuation = (
        anatomy.soft_tissue(body, recipe.size)
        + anatomy.mediastinum(body, recipe.size)
        + anatomy.bones(body, rng, recipe.size)
        * (0.45 + 0.55 * gaussian_filter(lungs.both.astype(np.float32), 3))
        + 0.55 * anatomy.vessels(lungs, body, rng, recipe.size)
        - 0.95 * anatomy.air(lungs, recipe.size)
        + findings.mimics(lungs, finding_rng)
        + decorations.metal(style, np.random.default_rng(style_seed.spawn(1)[0]), recipe.size)
        + sum(area.opacity for area in areas)
    )
    grey = _expose(attenuation, style, np.random.default_rng(noise_seed))
    named = _named(areas, finding_rng, recipe.subset_prompts)
    mask = np.any([area.mask for area in named], axis=0) if named else np.zeros_like(lungs.left)
    places = findings.locations_of(mask, lungs) if named else []
    return Film(
        image=(grey * 4095).astype(np.uint16),
        mask=mask,
        all_areas=_numbered(areas, recipe.size),
        prompt=sentences.qata_sentence(places, len(named)),
        paraphrase=sentences.paraphrase(places, finding_rng) if named else "No opacity.",
        lungs=lungs,
        truth={
            "n_areas": len(areas),
            "named_areas": len(named),
            "textures": [area.texture for area in areas],
            "locations": [list(place) for place in places],
            "portable": style.portable,
            "electrodes": style.electrodes,
            "tube": style.tube,
            "side_letter": style.side_letter,
        },
    )


def _expose(attenuation: anatomy.Field, style: decorations.Style, rng: np.random.Generator) -> anatomy.Field:
    """Turn attenuation into a processed film in [0, 1]: photons, log, sharpening, window, collimation."""
    size = attenuation.shape[0]
    photons = rng.poisson(style.dose * np.exp(-1.1 * np.clip(attenuation, -0.5, None))) + 1.0
    film = gaussian_filter(-np.log(photons / style.dose), size * 0.0009)
    # The characteristic curve has a shoulder: heart, spine and abdomen end close together.
    film = 1 - np.exp(-0.85 * np.clip(film + 0.4, 0, None))
    film = film + 0.7 * style.sharpen * (film - gaussian_filter(film, size * 0.012))
    low, high = np.percentile(film, (0.5, 99.7))
    grey = np.clip((film - low) / max(high - low, 1e-6), 0, 1) ** style.gamma
    margin = int(style.collimation * size)
    if margin:
        frame = np.zeros_like(grey)
        frame[margin:-margin, margin:-margin] = grey[margin:-margin, margin:-margin]
        grey = frame
    return decorations.burn_marks(grey.astype(np.float32), style)


def _named(areas: list[findings.Area], rng: np.random.Generator, share: float) -> list[findings.Area]:
    """Choose the areas that the sentence names: all, or (a share of the time) those of one side."""
    sides = {area.side for area in areas}
    if len(sides) == 2 and rng.random() < share:
        side = sorted(sides)[int(rng.integers(2))]
        return [area for area in areas if area.side == side]
    return areas


def _numbered(areas: list[findings.Area], size: int) -> NDArray[np.uint8]:
    numbered = np.zeros((size, size), np.uint8)
    for number, area in enumerate(areas, start=1):
        numbered[area.mask] = number
    return numbered
