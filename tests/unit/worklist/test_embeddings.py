"""Embeddings on disk, and the nearest cases."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from napari_clipmed.worklist.embeddings import SUFFIX, Bank, Embeddings, caveats


def unit(*numbers: float) -> np.ndarray:
    vector = np.array(numbers, np.float32)
    return vector / np.linalg.norm(vector)


def test_the_nearest_are_found_by_the_best_views_that_both_have(tmp_path: Path) -> None:
    kept = Embeddings(tmp_path)
    kept.put("m", "twin", {"both": unit(1, 0.1), "AP": unit(0, 1)})
    kept.put("m", "far", {"both": unit(-1, 0), "AP": unit(0, 1)})
    kept.put("m", "one-view", {"AP": unit(1, 1)})
    kept.put("other", "twin", {"both": unit(-1, 0)})
    bank = Embeddings(tmp_path).bank("m")
    found = bank.nearest({"both": unit(1, 0), "AP": unit(1, 1)}, 5)
    assert [(match.case, match.by) for match in found] == [
        ("one-view", "AP"),
        ("twin", "both"),
        ("far", "both"),
    ]
    assert found[1].similarity == pytest.approx(1 / np.sqrt(1.01), abs=1e-5)
    assert [match.case for match in bank.nearest({"both": unit(1, 0)}, 1, without=["twin"])] == ["far"]
    assert [match.case for match in bank.nearest_to_sentence(unit(-1, 0), 1)] == ["far"]
    assert bank.nearest({"both": np.ones(7, np.float32)}, 5) == []


def test_the_same_is_written_once_and_another_subtraction_replaces_it(tmp_path: Path) -> None:
    kept = Embeddings(tmp_path)
    kept.put("m", "c", {"AP": unit(1, 0)}, "AP=1")
    (path,) = (tmp_path / "m").iterdir()
    before = path.stat().st_ino
    kept.put("m", "c", {"AP": unit(1, 0)}, "AP=1")
    assert path.stat().st_ino == before
    kept.put("m", "c", {"AP": unit(0, 1)}, "AP=2")
    vectors = kept.get("m", "c")
    assert vectors is not None and vectors["AP"].tolist() == [0, 1]
    assert [p.name for p in (tmp_path / "m").iterdir()] == [f"c{SUFFIX}"]


def test_damaged_pickled_and_odd_files_are_not_there(tmp_path: Path) -> None:
    kept = Embeddings(tmp_path)
    kept.put("m", "good", {"AP": unit(1, 0)})
    (tmp_path / "m" / f"cut{SUFFIX}").write_bytes((tmp_path / "m" / f"good{SUFFIX}").read_bytes()[:-3])
    (tmp_path / "m" / f"pickled{SUFFIX}").write_bytes(pickle.dumps({"AP": [1.0]}))
    kept.put("m", "nan", {"AP": np.array([np.nan, 1], np.float32)})
    assert kept.bank("m").cases == ("good",)
    assert Bank().nearest({"AP": unit(1, 0)}, 3) == []


def test_what_the_card_says_of_its_text_tower_is_told() -> None:
    limits = ["Research use only.", "The frozen text tower was drawn at random, not pre-trained."]
    assert caveats(limits) == limits[1:]
