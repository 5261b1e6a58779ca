"""Writes of the journal come in turn, however the jobs that do them are scheduled."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from napari_clipmed.gui.case_journal import InTurn, journal_frames
from napari_clipmed.records.drafts import Drafts


def test_a_write_from_before_a_mask_was_saved_does_not_keep_it_as_unsaved(tmp_path: Path) -> None:
    drafts, turns = Drafts(tmp_path), InTurn()
    labels = np.ones((1, 1, 8, 8), np.uint8)[0]
    values = {"finding": 1}
    saved = {(0, 0): {"finding": labels[0] > 0}}
    before = turns.ask("c1", lambda: journal_frames(drafts, "c1", {0: labels}, {}, values))
    after = turns.ask("c1", lambda: journal_frames(drafts, "c1", {0: labels}, saved, values))
    assert after() == set()
    assert before() == set(), "it comes too late"
    assert drafts.of("c1") == []


def test_cases_do_not_wait_for_one_another_and_a_failed_write_is_none() -> None:
    turns = InTurn()

    def full() -> set[str]:
        raise OSError("no space left")

    first, other = turns.ask("a", lambda: {"first"}), turns.ask("b", lambda: {"other"})
    failing, newest = turns.ask("a", full), turns.ask("b", lambda: {"newest"})
    with pytest.raises(OSError, match="no space"):
        failing()
    assert first() == {"first"}
    assert newest() == {"newest"} and other() == set()


def test_two_writes_are_never_at_it_together() -> None:
    turns, at_work, most = InTurn(), [], []

    def write() -> set[str]:
        at_work.append(1)
        most.append(len(at_work))
        sum(range(200_000))
        at_work.pop()
        return set()

    threads = [Thread(target=turns.ask("a", write)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
