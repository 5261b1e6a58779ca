"""A mask against its sentence: sides and number of areas, in words."""

from __future__ import annotations

import csv
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_clipmed.inference.contradictions import contradictions, contradictions_of
from napari_clipmed.models.prompts import Finding, parse

ARCHIVE = "QaTa-COV19-v2_train_val.tar"
EVERY = int(os.environ.get("CLIPMED_EVERY_MASK", "7"))
"""Of the true masks every so-manieth is compared; 1 gives the figures of docs/segmentation.md."""


def mask_with(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (100, 100)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


LEFT, RIGHT = (60, 10, 80, 40), (60, 60, 80, 90)


@pytest.mark.parametrize(
    ("sentence", "boxes"),
    [
        ("unilateral pulmonary infection, one infected area, lower left lung.", [LEFT]),
        (
            "bilateral pulmonary infection, two infected areas, lower left lung and lower right lung.",
            [LEFT, RIGHT],
        ),
        ("lower right lung", [RIGHT]),
        ("pulmonary infection.", [LEFT, RIGHT]),
        ("find the cat", []),
        ("one infected area, left lung", [(60, 10, 80, 51)]),  # a lung may reach a little beyond the middle
        ("one infected area, left lung", [LEFT, (10, 90, 12, 93)]),  # a speck is no area
        ("unilateral infection", [RIGHT]),
    ],
)
def test_agreement_is_silent(sentence: str, boxes: list[tuple[int, int, int, int]]) -> None:
    assert contradictions(parse(sentence), mask_with(*boxes)) == ()


@pytest.mark.parametrize(
    ("sentence", "boxes", "said"),
    [
        ("lower left lung", [RIGHT], ["on the right of the picture. Whose left and right are meant"]),
        ("lower left lung", [LEFT, RIGHT], ["picture only, but 50 % of the mask lies on the right"]),
        ("both lungs", [LEFT], ["names the right of the picture, but nothing is marked there"]),
        ("bilateral", [RIGHT], ["names the left of the picture, but nothing is marked there"]),
        ("three infected areas, left lung", [LEFT], ["names three areas, the mask has one area"]),
        ("one infected area, left lung", [RIGHT, (10, 70, 30, 90)], ["other side", "the mask has two areas"]),
        ("unilateral infection", [LEFT, RIGHT], ['"unilateral", but both sides']),
        ("left lung", [], ["the mask is empty"]),
    ],
)  # fmt: skip
def test_contradictions_are_named(sentence: str, boxes: list, said: list[str]) -> None:
    found = " ".join(contradictions(parse(sentence), mask_with(*boxes)))
    for words in said:
        assert words in found, found


def test_sides_are_named_as_the_person_names_them() -> None:
    typed = "lower left lung"
    assert contradictions_of(typed, "patient", mask_with(RIGHT)) == ()
    (said,) = contradictions_of(typed, "patient", mask_with(LEFT, RIGHT))
    assert "names the patient's left only" in said
    assert "lies on the patient's right" in said
    assert contradictions_of("", "picture", mask_with(LEFT)) == ()


def test_the_middle_of_an_odd_width_belongs_to_both_halves() -> None:
    line = mask_with((0, 50, 100, 51), shape=(100, 101))
    assert contradictions(Finding("bilateral", 1), line) == ()


def true_masks(archive: Path) -> Iterator[tuple[str, np.ndarray | None]]:
    """Sentence of every film of the official train and validation splits, and the true mask of some."""
    files = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and ("/GTs/" in member.name or member.name.endswith(".csv")):
                handle = tar.extractfile(member)
                assert handle is not None
                files["/".join(member.name.split("/")[-3:])] = handle.read()
    root = next(name for name in files if "/GTs/" in name).split("/")[0]
    rows = 0
    for split in ("train", "val"):
        table = next(text for name, text in files.items() if name.endswith(f"prompt/{split}.csv"))
        for row in csv.DictReader(io.StringIO(table.decode("utf-8-sig"))):
            rows += 1
            if rows % EVERY:
                yield row["Description"].strip(), None
                continue
            name = f"{split.capitalize()}/GTs/{row['Image']}"
            picture = files.get(name) or files[f"{root}/{name}"]
            yield row["Description"].strip(), np.asarray(Image.open(io.BytesIO(picture)).convert("L")) > 127


@pytest.mark.slow
@pytest.mark.shared_data
def test_true_masks_agree_with_their_sentences(shared_data: Path) -> None:
    """The figures of docs/segmentation.md; CLIPMED_EVERY_MASK=1 and `pytest -rP` print them."""
    archive = shared_data / "qata" / ARCHIVE
    if not archive.is_file():
        pytest.skip(f"{ARCHIVE} is not there")
    n = masks = exact = agree = sides = numbers = 0
    for sentence, mask in true_masks(archive):
        finding = parse(sentence)
        n += 1
        exact += finding.sentence == sentence
        if mask is None:
            continue
        masks += 1
        found = contradictions(finding, mask)
        agree += not found
        numbers += not any("areas" in text or "area," in text for text in found)
        sides += not contradictions(finding.without_number(), mask)
    print(f"{exact} of {n} sentences read exactly; of {masks} true masks {agree} agree,")
    print(f"{sides} in their sides, {numbers} in their number")
    assert n == 7145
    assert exact >= n - 1
    assert numbers >= 0.999 * masks
    assert agree >= 0.99 * masks
