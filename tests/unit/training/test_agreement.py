"""Agreement figures against published examples, and the report of a workspace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import RevisionKind, Store
from napari_clipmed.study import (
    DisplayWindow,
    FrameTiming,
    Kind,
    PixelSpacing,
    Projection,
    Source,
    Study,
    View,
)
from napari_clipmed.training.agreement import agreement, readings_of
from napari_clipmed.training.agreement_figures import cohen_kappa, fleiss_kappa, mask_agreement
from napari_clipmed.training.agreement_page import agreement_page


def said(table: list[list[int]]) -> tuple[list[str], list[str]]:
    """The readings of two readers behind a table of counts."""
    pairs = [(str(i), str(j)) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def test_cohen_as_published() -> None:
    """Fleiss, Cohen and Everitt 1969, table 1: kappa 0.429, standard error 0.054 with n = 200."""
    table = [[106, 10, 4], [22, 28, 10], [2, 12, 6]]
    found = cohen_kappa(*said(table))
    assert found.value == pytest.approx(0.429, abs=5e-4)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(0.054, abs=5e-4)
    assert (found.n, found.agreement) == (200, pytest.approx(0.70))


def test_fleiss_as_published() -> None:
    """Fleiss 1971, table 1: thirty patients, six psychiatrists, five diagnoses; kappa 0.430."""
    counts = [
        [0, 0, 0, 6, 0], [0, 3, 0, 0, 3], [0, 1, 4, 0, 1], [0, 0, 0, 0, 6], [0, 3, 0, 3, 0],
        [2, 0, 4, 0, 0], [0, 0, 4, 0, 2], [2, 0, 3, 1, 0], [2, 0, 0, 4, 0], [0, 0, 0, 0, 6],
        [1, 0, 0, 5, 0], [1, 1, 0, 4, 0], [0, 3, 3, 0, 0], [1, 0, 0, 5, 0], [0, 2, 0, 3, 1],
        [0, 0, 5, 0, 1], [3, 0, 0, 1, 2], [5, 1, 0, 0, 0], [0, 2, 0, 4, 0], [1, 0, 2, 0, 3],
        [0, 0, 0, 0, 6], [0, 1, 0, 5, 0], [0, 2, 0, 1, 3], [2, 0, 0, 4, 0], [1, 0, 0, 4, 1],
        [0, 5, 0, 1, 0], [4, 0, 0, 0, 2], [0, 2, 0, 4, 0], [1, 0, 5, 0, 0], [0, 0, 0, 0, 6],
    ]  # fmt: skip
    readings = [[str(k) for k, n in enumerate(row) for _ in range(n)] for row in counts]
    found = fleiss_kappa(readings)
    assert found.value == pytest.approx(0.430, abs=5e-4)
    assert found.agreement == pytest.approx(0.5556, abs=5e-4)
    assert found.n == 30
    # His standard error under the hypothesis of no agreement is 0.028; by drawing patients it is wider.
    assert 0.30 < found.low < 0.40 < 0.46 < found.high < 0.57
    assert fleiss_kappa(readings) == found  # the same seed draws the same patients


def test_fleiss_of_single_classes_as_published() -> None:
    """Fleiss 1971, p. 381, on the same data: schizophrenia 0.52, depression 0.245 (categories 3 and 1)."""
    # One category against the rest has the very kappa that his equation 8 gives.
    readings = [["a"] * n + ["b"] * (6 - n) for n in (6, 6, 0, 0, 3, 0)]
    by_hand = 1 - sum(n * (6 - n) for n in (6, 6, 0, 0, 3, 0)) / (6 * 6 * 5 * (15 / 36) * (21 / 36))
    assert fleiss_kappa(readings).value == pytest.approx(by_hand)


def test_kappa_where_it_is_not_defined() -> None:
    assert cohen_kappa([], []).value is None
    same = cohen_kappa(["a", "a"], ["a", "a"])
    assert (same.value, same.agreement, same.n) == (None, 1.0, 2)
    assert fleiss_kappa([["a", "a"], ["a", "a"]]).value is None
    assert fleiss_kappa([]).value is None
    perfect = cohen_kappa(["a", "b", "a"], ["a", "b", "a"])
    assert (perfect.value, perfect.high) == (pytest.approx(1.0), 1.0)


def test_patients_are_drawn_not_cases() -> None:
    """Ten cases of one patient say no more than one case: the interval widens."""
    readings = [["a", "a"], ["b", "b"], ["a", "b"], ["b", "b"], ["a", "a"]] * 8
    alone = fleiss_kappa(readings)
    together = fleiss_kappa(readings, [str(i % 5) for i in range(40)])
    assert alone.value == together.value
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_masks_by_hand() -> None:
    first, second = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    first[10:20, 10:20] = True
    second[10:20, 13:23] = True
    found = mask_agreement(first, second)
    assert found.dice == pytest.approx(0.7)
    assert found.hausdorff == found.hausdorff95 == 3.0
    second[0, 0] = True  # one stray pixel: the worst distance sees it, the 95th percentile does not
    stray = mask_agreement(first, second)
    assert stray.hausdorff == pytest.approx(np.hypot(10, 10))
    assert stray.hausdorff95 == 3.0
    empty = np.zeros((40, 40), bool)
    assert mask_agreement(empty, empty) == type(found)(1.0, None, None)
    assert mask_agreement(first, empty) == type(found)(0.0, None, None)
    with pytest.raises(ValueError, match="Masks of"):
        mask_agreement(first, empty[:5])


def test_the_greatest_distance_is_that_of_scikit_image() -> None:
    from skimage.metrics import hausdorff_distance

    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = (rng.random((30, 34)) > 0.9 for _ in range(2))
        assert mask_agreement(first, second).hausdorff == pytest.approx(hausdorff_distance(first, second))


def study(seed: int) -> Study:
    pixels = np.full((1, 20, 20), seed, np.uint8)
    view = View(
        Projection.PA,
        pixels,
        FrameTiming(np.zeros(1), "single", True),
        PixelSpacing(),
        DisplayWindow(0, 255),
        Source("film.png"),
    )
    return Study((view,), Kind.CHEST)


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "w") as opened:
        yield opened


def test_a_report_of_three_readers(store: Store) -> None:
    truth = ["MMD", "MMD", "IA", "IA", "IA", "AS"]
    cases = [store.case_for(study(i)) for i in range(6)]
    for i, case in enumerate(cases):
        store.add_label(case, truth[i], "accepted", author="A", model_label=truth[i])
        store.add_label(case, "IA" if i == 0 else truth[i], "corrected", author="B", model_label="MMD")
        store.add_label(case, truth[i], "accepted", author="C")
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:10] = True
    store.add_mask(cases[0], 0, 0, mask, name="nidus", author="A")
    store.add_mask(cases[0], 0, 0, np.roll(mask, 2, axis=1), name="nidus", author="B")
    report = agreement(store)
    assert report.readers == ("A", "B", "C")
    labels, masks = report.labels, report.masks
    assert labels["read_by_all"] == 6
    ab, ac, bc = labels["pairs"]
    assert ac["value"] == pytest.approx(1.0)
    assert ab["value"] == bc["value"] == pytest.approx(cohen_kappa(truth, ["IA", *truth[1:]]).value)
    assert ab["confusion"]["MMD"] == {"IA": 1, "MMD": 1}
    assert [c["label"] for c in labels["classes"]] == ["AS", "IA", "MMD"]
    assert labels["classes"][2]["readings"] == {"A": 2, "B": 1, "C": 2}
    reader_a, reader_b, _ = labels["readers"]
    assert (reader_a["agrees_with_model"], reader_b["agrees_with_model"]) == (1.0, pytest.approx(1 / 6))
    assert masks["pairs"][0] == {
        "readers": ["A", "B"],
        "n": 1,
        "dice_mean": pytest.approx(0.6),
        "dice_median": pytest.approx(0.6),
        "dice_lowest": pytest.approx(0.6),
        "hausdorff_mean": 2.0,
        "hausdorff_largest": 2.0,
        "hausdorff95_mean": 2.0,
    }
    assert masks["classes"][0]["name"] == "nidus"
    json.dumps(report.as_dict(), allow_nan=False)
    assert agreement(store, ["A", "C"]).labels["fleiss"]["value"] == pytest.approx(1.0)
    page = agreement_page(report)
    assert "nidus" in page and "Cohen" in page and "<script" not in page


def test_settling_and_taking_back_are_no_readings(store: Store) -> None:
    case = store.case_for(study(1))
    store.add_label(case, "IA", "accepted", author="A", based_on=None)
    store.add_label(case, "MMD", "accepted", author="B", based_on=None)
    (conflict,) = store.conflicts()
    store.settle(conflict, conflict.first, author="B")
    read = readings_of(store.revisions(), RevisionKind.LABEL)
    assert {reader: [r.label for r in own.values()] for reader, own in read.items()} == {
        "A": ["IA"],
        "B": ["MMD"],
    }
    changed = store.add_label(case, "AS", "corrected", author="A")
    store.undo(changed, "A")
    read = readings_of(store.revisions(), RevisionKind.LABEL)
    assert [r.label for r in read["A"].values()] == ["IA"]


def test_one_reader_alone_cannot_agree(store: Store) -> None:
    store.add_label(store.case_for(study(1)), "IA", "accepted", author="A")
    with pytest.raises(WorkspaceError, match="at least two readers"):
        agreement(store)
    with pytest.raises(WorkspaceError, match="nothing by Z"):
        agreement(store, ["A", "Z"])


def test_names_are_escaped_on_the_page(store: Store) -> None:
    for author in ("<b>A</b>", "B"):
        store.add_label(store.case_for(study(1)), "IA", "accepted", author=author)
    page = agreement_page(agreement(store))
    assert "<b>A" not in page and "&lt;b&gt;A" in page
