"""The sentences of QaTa-COV19: what they say, however they are typed, and whose left is meant.

The grammar of the data set, found by reading its 162 distinct sentences, is::

    (bilateral|unilateral) pulmonary infection, N infected area(s), PLACE[ and PLACE].
    PLACE = (all | some of upper middle lower) (left|right) lung        left before right

"Left" in these sentences is the left of the PICTURE (99.2 % of the mask area), which is the patient's
right. `normalise` therefore asks which convention the typist uses, and says what it did.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from itertools import pairwise, takewhile
from typing import Literal

import yaml

from napari_clipmed.errors import ClipmedError
from napari_clipmed.shipped import resource

Convention = Literal["picture", "patient"]

ZONES = ("all", "upper", "middle", "lower")
"""In the order of the sentences. "all" and "upper middle lower" are told apart, as the data set does."""
SIDES = ("left", "right")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
GENERIC = "pulmonary infection."
"""What the network reads when a prompt names neither side, zone nor number."""

_LONGEST = 20_000
"""Characters of a prompt that are looked at."""


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

    def without_number(self) -> Finding:
        """The same finding, the number of areas left open."""
        return replace(self, areas=None)

    @property
    def places_only(self) -> str:
        """The places alone as a sentence; the whole sentence where there are none."""
        return " and ".join(str(place) for place in self.places) + "." if self.places else self.sentence

    def mirrored(self) -> Finding:
        """The same finding with left and right exchanged."""
        swapped = [replace(place, side=_other(place.side)) for place in self.places]
        return replace(self, places=_left_first(swapped))

    def completed(self) -> Finding:
        """With the laterality that the places imply, and the two lungs that "bilateral" implies."""
        if self.places and not self.laterality:
            return replace(self, laterality="bilateral" if len(self.places) > 1 else "unilateral")
        if self.laterality == "bilateral" and not self.places:
            return replace(self, places=tuple(Place(side) for side in SIDES))
        return self


@dataclass(frozen=True)
class Prompt:
    """A typed prompt and what becomes of it.

    Parameters
    ----------
    text : str
        As typed.
    sentence : str
        What the network reads, in the convention of the picture.
    convention : "picture" or "patient"
        Whose left the typed "left" meant.
    finding : Finding
        What was understood, in the convention of the picture.
    notes : tuple of str
        Sentences that the person must read.
    """

    text: str
    sentence: str
    convention: Convention
    finding: Finding
    notes: tuple[str, ...] = ()

    @property
    def wordings(self) -> tuple[str, ...]:
        """The sentence, and others that say the same in words the network was trained on; at least two."""
        if not self.finding:
            return (self.sentence, *(text for text in generic_wordings() if text != self.sentence))
        bare = self.finding.without_number()
        shorter = replace(bare, laterality="")
        said: tuple[str, ...] = (self.sentence, bare.sentence, shorter.sentence, self.finding.places_only)
        if self.finding.areas is None and self.finding.places:
            said = (*said, replace(self.finding, areas=len(self.finding.places)).sentence)
        return tuple(dict.fromkeys(said))


@dataclass(frozen=True)
class Preset:
    """A sentence offered for choice."""

    title: str
    text: str


def normalise(text: str, convention: Convention = "picture") -> Prompt:
    """Turn what a person typed into the sentence that the network was trained on.

    Parameters
    ----------
    text : str
        Any wording, of any length.
    convention : "picture" or "patient"
        Whose left is meant: of the picture as displayed (as in the data set), or of the patient.

    Raises
    ------
    ClipmedError
        For an empty prompt or an unknown convention.
    """
    if convention not in ("picture", "patient"):
        raise ClipmedError(f"There is no side convention {convention!r}.", "Choose picture or patient.")
    if not re.search(r"\w", text):
        raise ClipmedError(
            "The prompt is empty.",
            'Describe where to look, for example "lower left lung", or choose a preset.',
        )
    words = _meanings(text[:_LONGEST])
    finding = _understand(words).completed()
    notes = []
    if not finding:
        notes.append(f'Neither side, zone nor number was recognised; the model read "{GENERIC}"')
    if "not" in words:
        notes.append("The model does not understand negation; say where to look, not where not to.")
    if finding.laterality == "unilateral" and len(finding.places) > 1:
        notes.append('The prompt says "unilateral" but names both lungs.')
    if finding.areas is not None and finding.areas < len(finding.places):
        notes.append("The prompt names both lungs but fewer areas than that.")
    if convention == "patient" and finding.places:
        finding = finding.mirrored()
        notes.append(
            "Left and right were read as the patient's; the model's sentence names the sides of the picture."
        )
    sentence = finding.sentence if finding else GENERIC
    return Prompt(text, sentence, convention, finding, tuple(notes))


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
    return _understand(_meanings(text))


def mirrored(sentence: str) -> str:
    """The same sentence about the mirror image: left and right exchanged, the left one named first.

    Other words than the data set's stay where they are.
    """
    finding = parse(sentence)
    for worded in (lambda f: f.sentence, lambda f: f.places_only):
        if worded(finding) == sentence:
            return worded(finding.mirrored())
    return re.sub(rf"\b({'|'.join(SIDES)})\b", lambda side: _other(side[0].lower()), sentence, flags=re.I)


@cache
def presets(name: str = "chest") -> tuple[Preset, ...]:
    """The shipped example sentences, from ``resources/prompts``."""
    content = yaml.safe_load(resource("prompts", f"{name}.yaml").read_text(encoding="utf-8"))
    return tuple(Preset(**entry) for entry in content["presets"])


@cache
def generic_wordings(name: str = "chest") -> tuple[str, ...]:
    """Sentences that name neither side, zone nor number, from ``resources/prompts``."""
    content = yaml.safe_load(resource("prompts", f"{name}.yaml").read_text(encoding="utf-8"))
    return tuple(content["generic"])


@cache
def _dictionary() -> tuple[dict[str, list[str]], frozenset[str]]:
    """Words with their meanings, and words that only look like one of them."""
    content = yaml.safe_load(resource("prompts", "qata_words.yaml").read_text(encoding="utf-8"))
    return {word: meaning.split() for word, meaning in content["means"].items()}, frozenset(
        content["unrelated"]
    )


def _meanings(text: str) -> list[str]:
    """The words of the grammar that a text contains, in order."""
    return [meaning for word in re.findall(r"[^\W_]+", text.lower()) for meaning in _meaning(word)]


@cache
def _long_words() -> list[str]:
    return [word for word in _dictionary()[0] if len(word) >= 4]


def _meaning(word: str) -> Sequence[str]:
    """What a typed word means, forgiving a slip or two in long words; nothing when it is unknown."""
    known, unrelated = _dictionary()
    if word in known:
        return known[word]
    if not 4 <= len(word) <= 20 or word in unrelated:
        return ()
    close = get_close_matches(word, _long_words(), n=1, cutoff=0.75)
    return known[close[0]] if close else ()


def _understand(words: Sequence[str]) -> Finding:
    laterality = next((word for word in words if word in ("bilateral", "unilateral")), "")
    pairs = pairwise([*words, ""])
    areas = next(
        (NUMBERS.index(word) for word, after in pairs if word in NUMBERS and after in ("infected", "area")),
        None,
    )
    return Finding(laterality, areas, _places(words, laterality))


def _places(words: Sequence[str], laterality: str) -> tuple[Place, ...]:
    """Bring zones and sides together, whichever of the two is named first.

    "lower left lung", "left lower lobe", "left lung, lower zone" and "lower left and right lungs" are all
    understood.
    """
    found: dict[str, set[str]] = {}
    pending: set[str] = set()
    unsided: set[str] = set()
    rest = iter(_groups(words))
    for sides, zones in rest:
        if not sides and zones:
            pending |= zones
        elif not sides:  # the word "lung" closes a place
            unsided |= pending
            pending = set()
        else:
            for side in sides:
                found.setdefault(side, set()).update(pending or zones)
            pending = set() if pending or not zones else pending
    unsided |= pending
    return _left_first([_place(side, zones) for side, zones in _settle(found, unsided, laterality).items()])


def _settle(found: dict[str, set[str]], unsided: set[str], laterality: str) -> dict[str, set[str]]:
    """Give zones without a side to the lung that lacks zones, else to the other lung, else to both."""
    if not unsided:
        return found
    if not found and laterality != "unilateral":
        return {side: set(unsided) for side in SIDES}
    bare = [side for side, zones in found.items() if not zones]
    if not bare and len(found) == 1:
        bare = [_other(next(iter(found)))]
        found = {**found, bare[0]: set()}
    return {side: zones | unsided if side in bare else zones for side, zones in found.items()}


def _groups(words: Sequence[str]) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Cut the words into (sides, the zones right behind them), ((), zones) and, for "lung", ((), {})."""
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word in ZONES:
            yield (), {word}
        elif word == "lung":
            yield (), set()
        elif word in SIDES or word == "both":
            sides = [word]
            while words[index : index + 1] == ["and"] and words[index + 1 : index + 2] in (
                ["left"],
                ["right"],
            ):
                sides.append(words[index + 1])
                index += 2
            after = list(takewhile(lambda w: w in ZONES or w == "and", words[index:]))
            while after and after[-1] == "and":
                after.pop()
            if "and" in after and words[index + len(after) : index + len(after) + 1] != ["lung"]:
                after = after[: after.index("and")]
            belongs = words[index + len(after) : index + len(after) + 1] not in (["left"], ["right"])
            zones = {w for w in after if w in ZONES} if belongs else set()
            index += len(after) if belongs else 0
            yield (SIDES if "both" in sides else tuple(sides)), zones


def _place(side: str, zones: set[str]) -> Place:
    return Place(side, tuple(zone for zone in ZONES if zone in zones))


def _other(side: str) -> str:
    return SIDES[1 - SIDES.index(side)]


def _left_first(places: Sequence[Place]) -> tuple[Place, ...]:
    return tuple(sorted(places, key=lambda place: SIDES.index(place.side)))
