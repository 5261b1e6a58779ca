"""Codes: legal, unique, and about the right side of the patient."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydicom.sr.codedict import codes

from napari_clipmed.models.labels import LabelSet
from napari_clipmed.outputs.code_book import (
    finding_of,
    own_code,
    segment_codes,
    side_of,
    site_of,
    verdict_code,
)
from napari_clipmed.records import Verdict
from napari_clipmed.shipped import resource
from napari_clipmed.study import Kind

PERMUTATION = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870",
    "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def times(a: int, b: int) -> int:
    """The product of the dihedral group of order ten."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


def is_verhoeff(number: str) -> bool:
    """Whether the last digit of a SNOMED CT identifier fits the others (Verhoeff's check)."""
    check = 0
    for place, digit in enumerate(reversed(number)):
        check = times(check, int(PERMUTATION[place % 8][int(digit)]))
    return check == 0


def entries(content: Any) -> list[tuple[str, str, str]]:
    """All [scheme, value, meaning] of the book."""
    if isinstance(content, list) and len(content) == 3 and all(isinstance(part, str) for part in content):
        return [tuple(content)] if content[0] in ("SCT", "DCM", "99CLIPMED") else []
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return [entry for part in inner for entry in entries(part)]


BOOK = entries(yaml.safe_load(resource("label_sets", "codes.yaml").read_text(encoding="utf-8")))


def test_the_check_itself() -> None:
    assert is_verhoeff("71388002")  # Procedure
    assert not is_verhoeff("71388003")


@pytest.mark.parametrize(("scheme", "value", "meaning"), BOOK)
def test_every_code_is_legal(scheme: str, value: str, meaning: str) -> None:
    assert len(meaning) <= 64
    assert len(value) <= 16 or scheme == "SCT"
    if scheme == "SCT":
        assert is_verhoeff(value)
    if scheme == "DCM":
        known = {code.value: code.meaning for code in (codes.DCM.Opacity, codes.DCM.GroundGlassOpacity)}
        assert known[value] == meaning


def test_a_code_has_one_meaning() -> None:
    assert len(BOOK) > 30
    assert len({(scheme, value) for scheme, value, _ in BOOK}) == len(set(BOOK))


def test_every_class_and_verdict_has_a_code() -> None:
    for key in LabelSet.named("dsa").keys:
        assert finding_of(key).scheme_designator == "SCT"
        assert site_of(key) is not None
    assert len({verdict_code(verdict).value for verdict in Verdict}) == len(Verdict)
    assert site_of("another") is None
    assert finding_of("another") == own_code("another")


@pytest.mark.parametrize(
    ("kind", "name", "sentence", "meaning"),
    [
        (Kind.ANGIOGRAM, "finding", "", "Morphologically abnormal structure"),
        (Kind.ANGIOGRAM, "Aneurysm", "", "Aneurysm"),
        (Kind.ANGIOGRAM, "one", "the left MCA", "Middle cerebral artery"),
        (Kind.ANGIOGRAM, "medical", "", "Morphologically abnormal structure"),  # "ica" is no part of a word
        (Kind.CHEST, "lower left lung", "", "Opacity"),
        (Kind.CHEST, "a", "ground-glass opacity", "Ground glass opacity"),
        (Kind.OTHER, "x", "", "Morphologically abnormal structure"),
    ],
)
def test_masks_are_named_by_their_words(kind: Kind, name: str, sentence: str, meaning: str) -> None:
    assert segment_codes(kind, name, sentence).property_type.meaning == meaning


@pytest.mark.parametrize(
    ("sentence", "convention", "rightwards", "side"),
    [
        ("left lung", "patient", "", "left"),
        ("left lung", "picture", "L", "right"),  # hung as usual: the picture's left is the patient's right
        ("left lung", "picture", "R", "left"),
        ("left lung", "picture", "", ""),
        ("left lung", "picture", "A", ""),
        ("left and right lung", "patient", "L", ""),
        ("bilateral", "patient", "L", ""),
    ],
)
def test_a_side_is_said_only_where_it_is_certain(
    sentence: str, convention: str, rightwards: str, side: str
) -> None:
    assert side_of(sentence, convention, rightwards) == side
