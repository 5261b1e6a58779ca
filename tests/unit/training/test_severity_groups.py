"""Figures by size, degree and place: every case in one group, and those that one would treat."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_clipmed.models.labels import LabelSet
from napari_clipmed.training.clip_dsa_evaluate import Answers, by_severity, by_site
from napari_clipmed.training.dsa_data import StudyRow

LABELS = LabelSet.named("dsa")
SIZES = (2.0, 4.5, 5.0, 8.0)


def answers() -> tuple[Answers, np.ndarray]:
    """Two normal studies and four aneurysms, of which the two smallest are taken for normal."""
    aneurysm = LABELS.index("IA")
    rows = [StudyRow(f"c{n}", f"C{n}", "test", "Control", Path()) for n in range(2)]
    rows += [
        StudyRow(f"a{n}", f"A{n}", "test", "IA", Path(), {"diameter_mm": size}, "M1" if n % 2 else "ICA")
        for n, size in enumerate(SIZES)
    ]
    scores = np.full((6, len(LABELS.labels)), 0.01)
    scores[:4, 0] = 0.9
    scores[4:, aneurysm] = 0.9
    truth = np.array([LABELS.index(row.label) for row in rows], np.int64)
    return Answers(rows, truth, {}), scores


def test_groups_part_the_cases_and_the_treated_are_together() -> None:
    told = by_severity(*answers(), LABELS)
    assert set(told) == {"IA"}
    groups = told["IA"]["groups"]
    assert {name: group["n"] for name, group in groups.items()} == {
        "below 4": 1, "4 to 7": 2, "7 or more": 1, "5 or more, all": 2,
    }  # fmt: skip
    assert groups["5 or more, all"] == {"n": 2, "sensitivity": 1.0, "auc_vs_normal": 1.0}
    assert groups["4 to 7"]["sensitivity"] == 0.5
    assert groups["below 4"] == {"n": 1, "sensitivity": 0.0, "auc_vs_normal": 0.5}


def test_each_place_has_its_own_figures() -> None:
    told = by_site(*answers(), LABELS)
    assert set(told) == {"IA"}, "normal studies have no place"
    assert told["IA"]["ICA"] == {
        "n": 2, "sensitivity": 0.5, "auc_vs_normal": 0.75,
        "treated": {"n": 1, "sensitivity": 1.0, "auc_vs_normal": 1.0},
    }  # fmt: skip
    assert told["IA"]["M1"]["n"] == 2 and told["IA"]["M1"]["treated"]["n"] == 1
