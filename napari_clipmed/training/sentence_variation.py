"""Other ways to say the same, so that the network learns to listen to sentences people type."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_clipmed.models.prompts import GENERIC, Finding, Place


@dataclass(frozen=True)
class VariationConfig:
    """How often a training sentence is said otherwise; the rest stays as in the data set.

    Parameters
    ----------
    no_number, places_only, side_only, generic, unknown_words : float
        Probabilities of leaving out the number, saying the places only, the sides only, nothing but that
        there is an infection, and of replacing words by ones the network does not know.
    """

    no_number: float = 0.0
    places_only: float = 0.0
    side_only: float = 0.0
    generic: float = 0.0
    unknown_words: float = 0.0


def vary(finding: Finding, config: VariationConfig, rng: np.random.Generator) -> str:
    """A sentence for a finding, drawn as `config` says."""
    draw = rng.random()
    for chance, wording in (
        (config.no_number, _no_number),
        (config.places_only, _places_only),
        (config.side_only, _side_only),
        (config.generic, _generic),
    ):
        if draw < chance:
            return wording(finding)
        draw -= chance
    return _unknown_words(finding.sentence, rng) if draw < config.unknown_words else finding.sentence


def paraphrased(finding: Finding, rng: np.random.Generator) -> str:
    """The same places in a reader's own words and another order, without the number of areas."""
    noun = rng.choice(["opacity", "opacities", "consolidation", "infiltrate", "ground-glass opacity"])
    places = [_lobes(place, rng) for place in finding.places]
    rng.shuffle(places)
    if not places:
        return f"{str(noun).capitalize()}."
    joint = str(rng.choice([" and in ", ", also in ", " as well as in "]))
    return f"{str(rng.choice(['There is ', 'Patchy ', '']))}{noun} in {joint.join(places)}."


def _lobes(place: Place, rng: np.random.Generator) -> str:
    word = str(rng.choice(["zone", "lobe", "field"]))
    if not place.zones:
        return f"the {place.side} lung"
    if "all" in place.zones:
        return f"the whole {place.side} lung"
    return f"the {place.side} {' and '.join(place.zones)} {word}"


def mistyped(sentence: str, rng: np.random.Generator, share: float = 0.25) -> str:
    """A sentence with slips of the keyboard in some longer words: a letter lost, doubled or swapped."""
    words = sentence.split()
    for n, word in enumerate(words):
        if len(word) < 4 or rng.random() >= share:
            continue
        at = int(rng.integers(1, len(word) - 2)) if len(word) > 3 else 1
        slip = int(rng.integers(3))
        if slip == 0:
            words[n] = word[:at] + word[at + 1 :]
        elif slip == 1:
            words[n] = word[:at] + word[at] + word[at:]
        else:
            words[n] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def _no_number(finding: Finding) -> str:
    return finding.without_number().sentence


def _places_only(finding: Finding) -> str:
    return finding.places_only


def _side_only(finding: Finding) -> str:
    return _places_only(replace(finding, places=tuple(replace(place, zones=()) for place in finding.places)))


def _generic(finding: Finding) -> str:
    return GENERIC


def _unknown_words(sentence: str, rng: np.random.Generator) -> str:
    """One word in ten made unreadable, the ones that carry the meaning spared."""
    words = sentence.split()
    keep = {"upper", "middle", "lower", "all", "left", "right"}
    return " ".join(
        "unreadable" if word.strip(".,") not in keep and rng.random() < 0.2 else word for word in words
    )
