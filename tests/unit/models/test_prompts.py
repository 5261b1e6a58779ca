"""Prompts as people type them, and the sentences that the network reads."""

from __future__ import annotations

import re
from itertools import combinations, product
from pathlib import Path

import pytest

from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.prompts import GENERIC, ZONES, Finding, Place, mirrored, normalise, parse, presets

ZONE_SETS = [("all",), *(zones for n in (1, 2, 3) for zones in combinations(ZONES[1:], n))]


def test_every_sentence_of_the_grammar_survives():
    for left, right in product([None, *ZONE_SETS], repeat=2):
        places = [Place(side, z) for side, z in (("left", left), ("right", right)) if z]
        if not places:
            continue
        laterality = "bilateral" if len(places) == 2 else "unilateral"
        for areas in range(1, 7):
            finding = Finding(laterality, areas, tuple(places))
            assert parse(finding.sentence) == finding
            assert parse(finding.sentence.upper().rstrip(".")) == finding


@pytest.mark.shared_data
def test_the_vocabulary_of_the_data_set_survives(shared_data: Path):
    table = (shared_data / "qata" / "prompt_vocabulary_train_val.tsv").read_text(encoding="utf-8")
    sentences = [line.split("\t")[1].strip() for line in table.splitlines() if line.strip()]
    assert len(sentences) == 162
    changed = {s: parse(s).sentence for s in sentences if parse(s).sentence != s}
    # The data set forgot a "left" once; reading it mends that.
    assert changed == {
        "bilateral pulmonary infection, two infected areas, all lung and all right lung.": (
            "bilateral pulmonary infection, two infected areas, all left lung and all right lung."
        )
    }


@pytest.mark.shared_data
def test_one_slip_of_the_keyboard_is_forgiven(shared_data: Path):
    """The figure of docs/segmentation.md: each pair of letters swapped, in words of four letters or more."""
    table = (shared_data / "qata" / "prompt_vocabulary_train_val.tsv").read_text(encoding="utf-8")
    sentences = [line.split("\t")[1].strip() for line in table.splitlines() if line.strip()]
    slips = same = 0
    for sentence in sentences:
        meant = parse(sentence)
        for word in re.finditer(r"[a-z]{4,}", sentence):
            for at in range(word.start(), word.end() - 1):
                typed = sentence[:at] + sentence[at + 1] + sentence[at] + sentence[at + 2 :]
                slips += typed != sentence
                same += typed != sentence and parse(typed) == meant
    print(f"{same} of {slips} slips")
    assert same >= 0.98 * slips


@pytest.mark.shared_data
def test_sentences_found_in_the_wild_are_read(shared_data: Path):
    from openpyxl import load_workbook

    book = load_workbook(shared_data / "qata" / "raw_prompts_with_typos.xlsx", read_only=True)
    rows = [row for row in book.worksheets[0].iter_rows(min_row=2, values_only=True) if row[1]]
    assert len(rows) == 25
    for _, sentence in rows:
        finding = parse(sentence)
        assert finding.laterality == sentence.split()[0].lower()
        assert finding.areas is not None
        assert {place.side for place in finding.places} == {
            s for s in ("left", "right") if f"{s} lung" in sentence
        }
    confused = [sentence for _, sentence in rows if normalise(sentence).notes]
    assert confused
    assert all(s.startswith("Unilateral") and " and " in s for s in confused)


@pytest.mark.parametrize(
    ("typed", "places"),
    [
        ("right lower lobe", "lower right lung"),
        ("Infection in the RIGHT LOWER LOBE!", "lower right lung"),
        ("rigth lowwer lung", "lower right lung"),
        ("uper left lung and middel lower right lung", "upper left lung and middle lower right lung"),
        ("right lower lobe and left upper lobe", "upper left lung and lower right lung"),
        ("right upper lobe, left lower lobe", "lower left lung and upper right lung"),
        ("left upper and lower lobes", "upper lower left lung"),
        ("left upper and lower zones", "upper lower left lung"),
        ("right middle and lower zone, left upper zone", "upper left lung and middle lower right lung"),
        ("opacities in both lower lung fields", "lower left lung and lower right lung"),
        ("lower left and right lungs", "lower left lung and lower right lung"),
        ("left lung, lower zone", "lower left lung"),
        ("left lower and right upper", "lower left lung and upper right lung"),
        ("both bases", "lower left lung and lower right lung"),
        ("bibasal infiltrates", "lower left lung and lower right lung"),
        ("lower lobes", "lower left lung and lower right lung"),
        ("the whole left lung", "all left lung"),
        ("RLL pneumonia", "lower right lung"),
        ("opacity, right apex", "upper right lung"),
        ("mild changes on the right", "right lung"),
        ("left-sided infection", "left lung"),
        ("bilateral", "left lung and right lung"),
    ],
)
def test_free_wordings(typed: str, places: str):
    sentence = normalise(typed).sentence
    assert sentence.rstrip(".").endswith(", " + places), sentence
    assert sentence.startswith("bilateral" if " and " in places else "unilateral")


@pytest.mark.parametrize(
    ("typed", "areas"),
    [("3 opacities in the left lung", 3), ("two infected areas, left lung", 2), ("left lung", None)],
)
def test_number_of_areas(typed: str, areas: int | None):
    assert parse(typed).areas == areas


def test_the_patients_left_is_the_right_of_the_picture():
    typed = "unilateral pulmonary infection, one infected area, lower left lung."
    picture, patient = normalise(typed, "picture"), normalise(typed, "patient")
    assert picture.sentence == typed and not picture.notes
    assert patient.sentence == "unilateral pulmonary infection, one infected area, lower right lung."
    assert "patient's" in patient.notes[0]


def test_mirroring_keeps_left_first_and_is_its_own_inverse():
    finding = parse("upper left lung and lower right lung")
    assert finding.mirrored().sentence.endswith("lower left lung and upper right lung.")
    assert finding.mirrored().mirrored() == finding


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("bilateral pulmonary infection, two infected areas, all left lung and lower right lung.",
         "bilateral pulmonary infection, two infected areas, lower left lung and all right lung."),
        ("pulmonary infection, upper left lung.", "pulmonary infection, upper right lung."),
        ("left lung and upper right lung.", "upper left lung and right lung."),
        ("pulmonary infection.", "pulmonary infection."),
        ("a shadow at the left, not leftover", "a shadow at the right, not leftover"),
    ],
)  # fmt: skip
def test_a_sentence_about_the_mirror_image(sentence: str, expected: str):
    assert mirrored(sentence) == expected
    assert mirrored(expected) == sentence


def test_a_report_about_the_other_side():
    assert mirrored("Left ICA, the right one, upright") == "right ICA, the left one, upright"


@pytest.mark.parametrize("typed", ["", "   ", "\n\t", "...", "—"])
def test_an_empty_prompt_is_a_sentence_not_a_traceback(typed: str):
    with pytest.raises(ClipmedError, match="empty") as caught:
        normalise(typed)
    assert caught.value.hint


def test_unknown_convention():
    with pytest.raises(ClipmedError, match="convention"):
        normalise("left lung", "mirror")  # type: ignore[arg-type]


def test_five_hundred_words():
    typed = "the film shows nothing of note elsewhere " * 70 + "lower left lung"
    assert len(typed.split()) > 490
    assert normalise(typed).sentence == "unilateral pulmonary infection, lower left lung."
    assert normalise("lorem " * 500).sentence == GENERIC


def test_notes_say_what_was_not_understood():
    assert "recognised" in normalise("find the cat").notes[0]
    assert any("negation" in note for note in normalise("no infection in the left lung").notes)
    assert any("unilateral" in note for note in normalise("unilateral, left lung and right lung").notes)


def test_fewer_areas_than_lungs_is_said():
    assert any("fewer areas" in note for note in normalise("one infected area, both lungs").notes)
    assert not normalise("two infected areas, both lungs").notes


def test_presets_are_in_the_language_of_the_model():
    offered = presets()
    assert len(offered) >= 8
    assert len({preset.title for preset in offered}) == len(offered)
    for preset in offered:
        assert normalise(preset.text).sentence == preset.text
