"""Two people at once: nothing is overwritten, both versions stay, and somebody has to choose."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import LATEST, Store
from napari_clipmed.study import Study


def test_who_saw_the_other_one_makes_no_conflict(either_store: Store, study: Study) -> None:
    store = either_store
    case = store.case_for(study)
    first = store.add_label(case, "IA", "accepted", author="A", based_on=None)
    second = store.add_label(case, "MMD", "corrected", author="B", based_on=first.id)
    assert second.parent_id == first.id
    assert store.conflicts() == []
    assert store.current_label(case) == second


def test_both_versions_stay_until_somebody_chooses(either_store: Store, study: Study) -> None:
    store = either_store
    case = store.case_for(study)
    seen = store.add_label(case, "Control", "accepted", author="A")
    quicker = store.add_label(case, "IA", "corrected", author="A", based_on=seen.id)
    slower = store.add_label(case, "MMD", "corrected", author="B", based_on=seen.id)
    (conflict,) = store.conflicts(case)
    assert (conflict.first, conflict.second) == (quicker, slower)
    assert store.current_label(case) == quicker  # what was saved first is not overwritten
    settled = store.settle(conflict, slower, author="C")
    assert (settled.label, settled.author) == ("MMD", "C")
    assert (settled.parent_id, settled.merges_id) == (quicker.id, slower.id)
    assert settled.restored_from == slower.id
    assert store.conflicts() == []
    assert store.current_label(case) == settled
    assert [r.label for r in store.revisions(case)] == ["Control", "IA", "MMD", "MMD"]


def test_a_branch_may_grow_and_the_line_may_go_on(store: Store, study: Study) -> None:
    case = store.case_for(study)
    a = store.add_label(case, "IA", "accepted", based_on=None)
    b = store.add_label(case, "MMD", "accepted", based_on=None)
    b2 = store.add_label(case, "AM", "corrected", based_on=b.id)
    a2 = store.add_label(case, "AS", "corrected", based_on=a.id)
    (conflict,) = store.conflicts()
    assert (conflict.first, conflict.second) == (a2, b2)
    with pytest.raises(WorkspaceError, match="meanwhile"):
        store.settle(type(conflict)(a, b), a)
    with pytest.raises(ValueError, match="no side"):
        store.settle(conflict, a)
    store.settle(conflict, a2)
    assert store.conflicts() == []


def test_three_readers_are_settled_one_after_the_other(store: Store, study: Study) -> None:
    case = store.case_for(study)
    for label in ("IA", "MMD", "AS"):
        store.add_label(case, label, "accepted", based_on=None)
    assert len(store.conflicts()) == 2
    store.settle(store.conflicts()[0], store.conflicts()[0].first)
    (left,) = store.conflicts()
    assert (left.first.label, left.second.label) == ("IA", "AS")
    store.settle(left, left.second)
    assert store.current_label(case).label == "AS" and store.conflicts() == []


def test_two_who_say_the_same_do_not_disagree(store: Store, study: Study) -> None:
    case = store.case_for(study)
    store.add_label(case, "MMD", "accepted", author="A", based_on=None)
    store.add_label(case, "MMD", "corrected", author="B", based_on=None)
    assert store.conflicts() == []
    assert len(store.revisions(case)) == 2


def test_masks_conflict_per_frame_and_name(either_store: Store, study: Study) -> None:
    store = either_store
    case = store.case_for(study)
    one, other = np.eye(12, 10, dtype=bool), np.ones((12, 10), bool)
    store.add_mask(case, 0, 1, one, name="nidus", author="A", based_on=None)
    store.add_mask(case, 0, 2, other, name="nidus", author="B", based_on=None)
    assert store.conflicts() == []
    store.add_mask(case, 0, 1, other, name="nidus", author="B", based_on=None)
    (conflict,) = store.conflicts(case)
    np.testing.assert_array_equal(store.read_mask(conflict.first), one)
    np.testing.assert_array_equal(store.read_mask(conflict.second), other)


def test_taking_back_what_somebody_went_on_from_is_a_conflict(store: Store, study: Study) -> None:
    case = store.case_for(study)
    mine = store.add_label(case, "IA", "accepted", author="A")
    theirs = store.add_label(case, "MMD", "corrected", author="B", based_on=mine.id)
    taken_back = store.undo(mine, "A")
    (conflict,) = store.conflicts()
    assert (conflict.first, conflict.second) == (theirs, taken_back)
    assert store.current_label(case) == theirs
    store.settle(conflict, taken_back, "C")
    assert store.current_label(case) is None


def test_after_a_withdrawal_an_empty_screen_is_up_to_date(store: Store, study: Study) -> None:
    case = store.case_for(study)
    store.undo(store.add_label(case, "IA", "accepted"))
    store.add_label(case, "MMD", "accepted", based_on=None)
    assert store.conflicts() == []
    assert store.current_label(case).label == "MMD"


def test_a_base_that_is_about_something_else_is_refused(store: Store, study: Study) -> None:
    case = store.case_for(study)
    mask = store.add_mask(case, 0, 0, np.ones((12, 10), bool))
    with pytest.raises(ValueError, match="something else"):
        store.add_label(case, "IA", "accepted", based_on=mask.id)
    assert store.add_label(case, "IA", "accepted", based_on=LATEST).parent_id is None


READER = """
import sys
from napari_clipmed.records import Store
place, case, author = sys.argv[1:4]
with Store.open(place) as store:
    seen = store.current_label(case)
    print("ready", flush=True)
    for turn in range(12):
        sys.stdin.readline()
        label = f"{author}{turn}"
        seen = store.add_label(case, label, "corrected", author=author, based_on=seen.id if seen else None)
        print(seen.uid, flush=True)
"""


def test_two_programs_at_once_lose_nothing(either_store: Store, study: Study) -> None:
    """Both readers go on from what they saw themselves: two lines, one conflict, every word on record."""
    store = either_store
    case = store.case_for(study)
    seen = store.add_label(case, "start", "accepted")
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(store.workspace.root), case, author],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for author in "AB"
    ]
    assert [reader.stdout.readline() for reader in readers] == ["ready\n"] * 2
    for reader in readers:  # both now save as fast as they can
        reader.stdin.write("\n" * 12)
        reader.stdin.flush()
    written = [reader.communicate(timeout=120)[0].split() for reader in readers]
    assert [len(uids) for uids in written] == [12, 12]
    revisions = store.revisions(case)
    assert {uid for uids in written for uid in uids} == {r.uid for r in revisions[1:]}
    for author in "AB":
        own = [r for r in revisions if r.author == author]
        assert [r.label for r in own] == [f"{author}{turn}" for turn in range(12)]
        assert [r.parent_id for r in own] == [seen.id, *(r.id for r in own[:-1])]
    (conflict,) = store.conflicts(case)
    assert {conflict.first.label, conflict.second.label} == {"A11", "B11"}
    assert store.current_label(case).author == revisions[1].author  # whoever was first holds


def test_two_programs_that_follow_whatever_holds_make_one_line(
    either_store: Store, study: Study, tmp_path: Path
) -> None:
    case = either_store.case_for(study)
    code = (
        "import sys\nfrom napari_clipmed.records import Store\n"
        "with Store.open(sys.argv[1]) as store:\n"
        "    [store.add_label(sys.argv[2], 'IA', 'accepted') for _ in range(15)]\n"
    )
    command = [sys.executable, "-c", code, str(either_store.workspace.root), case]
    writers = [subprocess.Popen(command) for _ in range(2)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    revisions = either_store.revisions(case)
    assert [r.parent_id for r in revisions] == [None, *(r.id for r in revisions[:-1])]
    assert len(revisions) == 30 and either_store.conflicts() == []
