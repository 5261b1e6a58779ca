"""The sentences of QaTa-COV19: what they say, however they are typed, and whose left is meant.

The grammar of the data set, found by reading its 162 distinct sentences, is::

    (bilateral|unilateral) pulmonary infection, N infected area(s), PLACE[ and PLACE].
    PLACE = (all | some of upper middle lower) (left|right) lung        left before right

"Left" in these sentences is the left of the PICTURE (99.2 % of the mask area), which is the patient's
right. `normalise` therefore asks which convention the typist uses, and says what it did.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from napari_clipmed.errors import ClipmedError

Convention = Literal["picture", "patient"]

ZONES = ("all", "upper", "middle", "lower")
"""In the order of the sentences. "all" and "upper middle lower" are told apart, as the data set does."""
SIDES = ("left", "right")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
GENERIC = "pulmonary infection."
"""What the network reads when a prompt names neither side, zone nor number."""


@dataclass(frozen=True)
class Place:
    """Zones of one lung; none where the sentence names the lung only."""

    side: str
    zones: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([*self.zones, self.side, "lung"])


@dataclass(frozen=True)
class Finding:
    """What a sentence of the grammar says; every part may be missing.

    Parameters
    ----------
    laterality : "bilateral", "unilateral" or ""
    areas : int or None
        Number of infected areas.
    places : tuple of Place
        At most one a side, left first.
    """

    laterality: str = ""
    areas: int | None = None
    places: tuple[Place, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.laterality or self.areas is not None or self.places)

    @property
    def sentence(self) -> str:
        """The sentence as the data set words it, with what is not known left out."""
        clauses = [f"{self.laterality} pulmonary infection".strip()]
        if self.areas is not None:
            number = NUMBERS[self.areas] if self.areas < len(NUMBERS) else str(self.areas)
            clauses.append(f"{number} infected {'area' if self.areas == 1 else 'areas'}")
        if self.places:
            clauses.append(" and ".join(str(place) for place in self.places))
        return ", ".join(clauses) + "."

    def mirrored(self) -> Finding:
        """The same finding with left and right exchanged."""
        swapped = [replace(place, side=other_side(place.side)) for place in self.places]
        return replace(self, places=_ordered(swapped))


def other_side(side: str) -> str:
    """Right for left, left for right."""
    return SIDES[1 - SIDES.index(side)]


def _ordered(places: Sequence[Place]) -> tuple[Place, ...]:
    return tuple(sorted(places, key=lambda place: SIDES.index(place.side)))


_WORDS = {
    **{word: word for word in (*ZONES, *SIDES, "bilateral", "unilateral", "lung", "area", "and")},
    **{number: number for number in NUMBERS[1:]},
    **{str(i): NUMBERS[i] for i in range(1, len(NUMBERS))},
    "areas": "area",
    "lungs": "lung",
    "lobe": "lung",
    "lobes": "lung",
    "hemithorax": "lung",
    "zone": "zone",
    "zones": "zone",
    "field": "zone",
    "fields": "zone",
    "whole": "all",
    "entire": "all",
    "complete": "all",
    "diffuse": "all",
    "mid": "middle",
    "central": "middle",
    "apical": "upper",
    "apex": "upper",
    "top": "upper",
    "superior": "upper",
    "inferior": "lower",
    "basal": "lower",
    "basilar": "lower",
    "base": "lower",
    "bottom": "lower",
    "both": "both",
    "left-sided": "left",
    "right-sided": "right",
    "single": "one",
    "infected": "infected",
    "infection": "infection",
    "pulmonary": "pulmonary",
}
"""Words that carry meaning here, and the word of the grammar for each."""

_LONG_WORDS = [word for word in _WORDS if len(word) >= 4]


def _known(word: str) -> str:
    """The grammar's word for a typed one, forgiving a slip or two in long words; "" when it means nothing."""
    if word in _WORDS:
        return _WORDS[word]
    if len(word) < 4:
        return ""
    close = get_close_matches(word, _LONG_WORDS, n=1, cutoff=0.8)
    return _WORDS[close[0]] if close else ""


def parse(text: str) -> Finding:
    """Read a sentence, tolerating case, spelling, order and synonyms.

    Parameters
    ----------
    text : str
        For example "Infection in the right lower lobe".

    Returns
    -------
    Finding
        Empty (false) when nothing of the grammar was recognised.
    """
    words = [known for known in map(_known, re.findall(r"[\w-]+", text.lower())) if known]
    laterality = next((word for word in words if word in ("bilateral", "unilateral")), "")
    areas = None
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word in NUMBERS and after in ("infected", "area"):
            areas = NUMBERS.index(word)
    return Finding(laterality, areas, _places(words))


def _places(words: Sequence[str]) -> tuple[Place, ...]:
    """Zones belong to the lung that follows ("lower left lung") or went before ("left lung, lower zone")."""
    found: dict[str, set[str]] = {}
    pending: set[str] = set()
    for index, word in enumerate(words):
        if word in ZONES:
            pending.add(word)
        elif word in SIDES or word == "both":
            sides = SIDES if word == "both" else (word,)
            following = _zones_directly_after(words[index + 1 :])
            for side in sides:
                found.setdefault(side, set()).update(pending or following)
            pending = set()
    if pending and len(found) == 1:
        next(iter(found.values())).update(pending)
    places = [Place(side, tuple(zone for zone in ZONES if zone in zones)) for side, zones in found.items()]
    return _ordered(places)


def _zones_directly_after(words: Sequence[str]) -> set[str]:
    """Zones between a side and its lung: "right lower lobe"."""
    zones: set[str] = set()
    for word in words:
        if word in ZONES:
            zones.add(word)
        elif word != "and" or not zones:
            break
    return zones
