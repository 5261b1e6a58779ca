"""The orders of the worklist against values worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from napari_clipmed.records import Answer, Listed
from napari_clipmed.records.words import Revision, RevisionKind, Verdict
from napari_clipmed.worklist.lines import UNANSWERED, Line, Status, Wanted
from napari_clipmed.worklist.orders import entropy, farthest_first, ordered, views_disagree
from napari_clipmed.worklist.words import Order

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def line(
    name: str, both=None, ap=None, la=None, label: str | None = None, author: str = "AB", **more
) -> Line:
    chances = {n: p for n, p in {"AP": ap, "LA": la, "both": both}.items() if p}
    answer = Answer(1, name, "m", "v", chances, False, NOW) if chances else None
    return Line(Listed("/r", (f"{name}.dcm",), "angiogram"), name, revision(label, author), answer, **more)


def revision(label: str | None, author: str, verdict: Verdict = Verdict.ACCEPTED) -> Revision | None:
    if label is None:
        return None
    blank = dict.fromkeys(("prompt", "model_prompt", "convention", "name", "comment", "software"), "")
    none = dict.fromkeys(("parent_id", "restored_from", "view_index", "frame", "mask_sha256", "threshold"))
    return Revision(
        id=1,
        uid="u",
        case_id="c",
        kind=RevisionKind.LABEL,
        verdict=verdict,
        label=label,
        author=author,
        created_at=NOW,
        model_id="m",
        image_hash="",
        sop_instance_uid="",
        **blank,
        **none,
    )


def test_entropy_is_nought_when_certain_and_one_when_all_are_alike():
    assert entropy({"a": 1.0, "b": 0.0}) == 0
    assert entropy(dict.fromkeys("abcde", 0.2)) == pytest.approx(1)
    assert entropy({"a": 0.5, "b": 0.5, "c": 0.0}) == pytest.approx(np.log(2) / np.log(3))
    assert np.isnan(entropy({}))


def test_views_disagree_from_nought_to_one():
    assert views_disagree({"AP": {"a": 0.7, "b": 0.3}, "LA": {"a": 0.7, "b": 0.3}}) == pytest.approx(0)
    assert views_disagree({"AP": {"a": 1.0, "b": 0.0}, "LA": {"a": 0.0, "b": 1.0}}) == pytest.approx(1)
    assert np.isnan(views_disagree({"AP": {"a": 1.0}}))


def test_each_order_puts_its_own_first_and_the_unanswered_last():
    sure = line(
        "sure", both={"a": 0.9, "b": 0.1}, ap={"a": 0.2, "b": 0.8}, la={"a": 0.9, "b": 0.1}, label="a"
    )
    torn = line("torn", both={"a": 0.5, "b": 0.5}, ap={"a": 0.5, "b": 0.5}, la={"a": 0.5, "b": 0.5})
    wrong = line("wrong", both={"a": 0.8, "b": 0.2}, label="b")
    new = line("new")
    lines = [new, sure, torn, wrong]

    def names(order: Order) -> list[str]:
        return [lines[place].case for place in ordered(lines, order)]

    assert names(Order.ADDED) == ["new", "sure", "torn", "wrong"]
    assert names(Order.UNCERTAINTY) == ["torn", "wrong", "sure", "new"]
    assert names(Order.VIEWS)[:2] == ["sure", "torn"]
    assert names(Order.READER) == ["wrong", "sure", "new", "torn"]


def test_the_farthest_comes_first_and_what_was_read_counts_as_known():
    angles = np.deg2rad([0, 5, 90, 180])
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert farthest_first(circle, [0], 3) == [3, 2, 1]
    assert sorted(farthest_first(circle, [], 9)) == [0, 1, 2, 3]
    lines = [
        line("read", both={"a": 1.0}, label="a"),
        line("near"),
        line("side"),
        line("far"),
        line("unknown"),
    ]
    vectors = dict(zip(("read", "near", "side", "far"), circle, strict=True))
    ranked = [lines[place].case for place in ordered(lines, Order.DIVERSITY, vectors)]
    assert ranked == ["far", "side", "near", "read", "unknown"]


def test_filters_pass_what_they_say():
    read = line("read", both={"a": 0.97, "b": 0.03}, label="a")
    torn = line("torn", both={"a": 0.4, "b": 0.6})
    bad = line("bad", problem="It was cut.")
    lines = [read, torn, bad]

    def passing(**wanted) -> list[str]:
        return [one.case for one in lines if Wanted(**wanted).passes(one)]

    assert passing() == ["read", "torn", "bad"]
    assert passing(status=Status.TO_REVIEW) == ["torn"] and passing(status=Status.PROBLEM) == ["bad"]
    assert passing(status=UNANSWERED) == ["bad"]
    assert passing(label="a") == ["read"] == passing(reader="AB") == passing(confidence=(0.95, 1.0))
    assert passing(confidence=(0.5, 0.8)) == ["torn"] and passing(words="TOR") == ["torn"]
