"""The codes of classes, masks and verdicts; data in ``resources/label_sets/codes.yaml``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from pydicom.sr.coding import Code

from napari_clipmed.records import Verdict
from napari_clipmed.shipped import resource
from napari_clipmed.study import Kind

OWN_SCHEME = "99CLIPMED"
"""Coding scheme of what no public scheme has a code for."""

LONGEST_VALUE, LONGEST_MEANING = 16, 64
"""Characters of a Code Value and a Code Meaning (PS3.5, SH and LO)."""


@dataclass(frozen=True)
class SegmentCodes:
    """What a mask shows: category, type, and the anatomic region where it is known."""

    category: Code
    property_type: Code
    site: Code | None = None


def finding_of(label: str) -> Code:
    """The code of a class by its key; a code of our own for a class that the book does not know."""
    entry = _book()["labels"].get(label)
    return _code(entry["finding"]) if entry else own_code(label)


def site_of(label: str) -> Code | None:
    """Where the finding of a class lies, if that is known."""
    entry = _book()["labels"].get(label)
    return _code(entry["site"]) if entry and "site" in entry else None


def verdict_name() -> Code:
    """The question that a verdict answers."""
    return _code(_book()["verdicts"]["name"])


def verdict_code(verdict: Verdict) -> Code:
    """A verdict as a code."""
    return _code(_book()["verdicts"]["values"][verdict.value])


def remark(name: str) -> Code:
    """A code of our own.

    "unlike_training" and "simulated" are answered by yes, "candidate" by a finding; "uncertain" stands in the
    place of one.
    """
    return _code(_book()[name])


def procedure_of(kind: Kind) -> Code:
    """The procedure that made the images."""
    return _code(_book()["procedures"][kind.value])


def segment_codes(kind: Kind, name: str, sentence: str = "", side: str = "") -> SegmentCodes:
    """What a mask shows, by the words of its name and sentence.

    Parameters
    ----------
    kind : Kind
        Of the study.
    name, sentence : str
        Of the mask.
    side : str
        "left" or "right" lung of the patient; empty where that is not certain.
    """
    text = f"{name} {sentence}".casefold()
    entry = next(entry for entry in _book()["segments"][kind.value] if _speaks_of(text, entry["words"]))
    site = _code(entry["site"]) if "site" in entry else None
    if site is not None and side:
        site = _code(_book()["sides"][side])
    return SegmentCodes(_code(_book()["categories"][entry["category"]]), _code(entry["type"]), site)


def side_of(sentence: str, convention: str, rightwards: str) -> str:
    """Which lung of the patient a sentence means: "left", "right", or empty where that is not certain.

    Parameters
    ----------
    sentence : str
        As it was typed.
    convention : str
        Whose left was meant: of the "picture" or of the "patient".
    rightwards : str
        Where the rows of the picture run (first value of Patient Orientation): "L" on a frontal film hung as
        usual.
    """
    sides = {side for side in ("left", "right") if _speaks_of(sentence.casefold(), [side])}
    if len(sides) != 1:
        return ""
    side = sides.pop()
    if convention == "patient" or rightwards == "R":
        return side
    return {"left": "right", "right": "left"}[side] if rightwards == "L" else ""


def own_code(words: str) -> Code:
    """A code of our own scheme for words that have none."""
    value = re.sub(r"[^A-Za-z0-9_.-]+", "-", words).strip("-")[:LONGEST_VALUE] or "finding"
    return Code(value, OWN_SCHEME, words[:LONGEST_MEANING] or "finding")


@cache
def _book() -> dict[str, Any]:
    content = yaml.safe_load(resource("label_sets", "codes.yaml").read_text(encoding="utf-8"))
    return dict(content)


def _speaks_of(text: str, words: list[str]) -> bool:
    return not words or any(re.search(rf"\b{re.escape(word)}\b", text) for word in words)


def _code(entry: list[str]) -> Code:
    scheme, value, meaning = entry
    return Code(value, scheme, meaning)
