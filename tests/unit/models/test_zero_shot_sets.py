"""Sets of questions: shipped, edited in a copy, refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.zero_shot_sets import (
    MOST_BYTES,
    is_changed,
    parse_set,
    parse_text,
    put_aside_own,
    read_set,
    save_own,
    set_names,
    suits,
)
from napari_clipmed.shipped import resource

TWO = {"name": "mine", "title": "Mine", "findings": [{"key": k, "title": k, "sentences": [k]} for k in "ab"]}


def test_shipped_sets_are_whole() -> None:
    assert set(set_names()) == {"dsa", "chest"}
    for name in set_names():
        questions = read_set(name)
        assert (questions.name, suits(questions.kind)) == (name, name)
        assert sum(finding.normal for finding in questions.findings) == 1
        assert all(finding.descriptors for finding in questions.findings if not finding.normal)
        assert questions.keys == parse_text(questions.to_yaml()).keys
    assert read_set("dsa").keys == ("Control", "MMD", "IA", "AM", "AS"), "the classes of CLIP-DSA"


def test_templates_are_filled() -> None:
    questions = parse_set(TWO | {"templates": ["{}", "a film of {}."], "negative": "no {}."})
    finding = questions.findings[0].model_copy(update={"sentences": ("an effusion.",)})
    assert questions.class_sentences(finding) == ["an effusion.", "a film of an effusion."]
    assert questions.pair(finding) == (["an effusion."], ["no an effusion."])
    assert questions.descriptor_pair(finding, "fluid") == (
        "There is fluid indicating a.", "There is no fluid indicating a.",
    )  # fmt: skip
    everything = questions.every_sentence()
    assert len(everything) == len(set(everything))


def test_a_copy_takes_the_place_of_the_shipped_set_and_is_put_aside_not_lost() -> None:
    shipped = resource("zero_shot", "dsa.yaml").read_bytes()
    questions = read_set("dsa")
    changed = questions.model_copy(update={"title": "Changed"})
    path = save_own(changed)
    assert read_set("dsa").title == "Changed"
    assert is_changed("dsa")
    assert resource("zero_shot", "dsa.yaml").read_bytes() == shipped
    aside = put_aside_own("dsa")
    assert aside is not None
    assert parse_text(aside.read_text()).title == "Changed"
    assert read_set("dsa") == questions
    assert (path.exists(), put_aside_own("dsa")) == (False, None)
    save_own(changed)
    assert put_aside_own("dsa") != aside, "an earlier copy is not replaced"
    save_own(changed.model_copy(update={"name": "of-my-own"}))
    assert "of-my-own" in set_names()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"findings": []}, "findings"),
        ({"findings": [TWO["findings"][0]] * 2}, "same key"),
        ({"templates": ["no place"]}, "no {} for the finding"),
        ({"present": "There is it."}, "no {descriptor}"),
        ({"name": "../../evil"}, "letters, digits"),
        ({"finding": 1}, "finding: Extra inputs"),
        ({"findings": [{"key": "a", "title": "a", "sentences": [" "]}, TWO["findings"][1]]}, "sentences"),
        ({"templates": ["{}"] * 21}, "templates"),
    ],
)
def test_what_makes_no_sense_is_named(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ClipmedError, match="no set of questions") as caught:
        parse_set(TWO | change)
    assert reason in str(caught.value)


def test_a_label_set_of_a_trained_model_will_do() -> None:
    content = yaml.safe_load(resource("label_sets", "dsa.yaml").read_text(encoding="utf-8"))
    assert parse_set(content).keys == read_set("dsa").keys


def test_files_are_bounded_and_errors_are_sentences(tmp_path: Path) -> None:
    broken, long = tmp_path / "broken.yaml", tmp_path / "long.yaml"
    broken.write_text("findings: [")
    long.write_text("#" * (MOST_BYTES + 1))
    for name, reason in (
        (str(broken), "no valid YAML"),
        (str(long), "too long"),
        ("none", "There is no set"),
        (str(tmp_path / "no.yaml"), "cannot be read"),
        ("../dsa", "There is no set"),
    ):
        with pytest.raises(ClipmedError, match=reason):
            read_set(name)
