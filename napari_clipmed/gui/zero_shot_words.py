"""What the zero-shot pane says, as plain functions of an answer."""

from __future__ import annotations

from collections.abc import Mapping

from napari_clipmed.gui.widgets.class_bars import ClassRow
from napari_clipmed.inference.zero_shot import FindingAnswer, ZeroShotAnswer

WAYS: Mapping[str, str] = {
    "share": "Compared with each other",
    "with": "Each with against without",
    "described": "By what can be seen",
}
"""Key of a way to ask, and for people."""

MEANING: Mapping[str, str] = {
    "share": "Which finding's sentences are nearest? The bars add up to one.",
    "with": "Each finding by itself: its sentences with it against those without it; 0.5 is undecided.",
    "described": "What can be seen, said to be there against not there; 0.5 is undecided.",
}

CLICK_FINDING = "Click: what can be seen of it, and where the sentence is nearest."
CLICK_DESCRIPTOR = "Click: where the picture is most like this."
AGAINST = "≠ "
SEEN = "Said to be there against not there; 0.5 is undecided."
CONFLICT = f"{SEEN} {AGAINST.strip()} speaks the other way than all of them together."


def finding_rows(answer: ZeroShotAnswer, way: str) -> list[ClassRow]:
    """A row for each finding that this way has an answer for, the nearest first."""
    numbers = {one.key: _number(one, way) for one in answer.findings}
    asked = [one for one in answer.findings if numbers[one.key] is not None]
    return [
        ClassRow(one.key, one.title, number, one.by_view if way == "share" else {}, CLICK_FINDING)
        for one in sorted(asked, key=lambda one: -(numbers[one.key] or 0.0))
        if (number := numbers[one.key]) is not None
    ]


def descriptor_rows(finding: FindingAnswer) -> list[ClassRow]:
    """A row for each descriptor of a finding; those that speak the other way are marked by `AGAINST`."""
    against = finding.conflicting()
    return [
        ClassRow(one.text, AGAINST * (one.text in against) + one.text, one.share, {}, CLICK_DESCRIPTOR)
        for one in finding.descriptors
    ]


def _number(finding: FindingAnswer, way: str) -> float | None:
    return {"share": finding.share, "with": finding.with_it, "described": finding.described}[way]
