"""Report sentences in the grammar of the QaTa-COV19 prompts, and freer ways of saying the same.

Sides are sides of the picture, as in QaTa: its "left lung" is the left of the picture, the patient's right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ZONES = ("upper", "middle", "lower")
SIDES = ("left", "right")

Location = tuple[str, str]
"""(side, zone), for example ("left", "lower")."""


def qata_sentence(locations: Sequence[Location], n_areas: int) -> str:
    """Return the sentence for areas at `locations`.

    Parameters
    ----------
    locations : sequence of (side, zone)
        Every third of a lung that the areas touch, sides of the picture.
    n_areas : int
        Number of connected areas.

    Examples
    --------
    >>> qata_sentence([("left", "lower"), ("right", "lower")], 2)
    'Bilateral pulmonary infection, two infected areas, lower left lung and lower right lung.'
    """
    if not locations:
        return "No pulmonary infection."
    clauses = [clause for side in SIDES if (clause := _clause(side, locations))]
    laterality = "Bilateral" if len(clauses) == 2 else "Unilateral"
    number = NUMBERS[n_areas] if n_areas < len(NUMBERS) else str(n_areas)
    noun = "area" if n_areas == 1 else "areas"
    return f"{laterality} pulmonary infection, {number} infected {noun}, {' and '.join(clauses)}."


def _clause(side: str, locations: Sequence[Location]) -> str:
    zones = [zone for zone in ZONES if (side, zone) in locations]
    if not zones:
        return ""
    return f"{'all' if len(zones) == len(ZONES) else ' '.join(zones)} {side} lung"


def paraphrase(locations: Sequence[Location], rng: np.random.Generator) -> str:
    """Say the same freely: other words, other order, no count."""
    noun = rng.choice(["opacity", "opacities", "consolidation", "ground-glass change", "infiltrate"])
    places = []
    for side in SIDES:
        zones = [zone for zone in ZONES if (side, zone) in locations]
        if len(zones) == len(ZONES):
            places.append(f"the whole {side} lung")
        elif zones:
            places.append(f"the {side} {' and '.join(zones)} zone{'s' if len(zones) > 1 else ''}")
    return f"{str(noun).capitalize()} in {' and in '.join(places)}."
