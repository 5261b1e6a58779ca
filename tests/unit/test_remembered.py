"""Overrules and masks kept in a workspace hold again when the study is opened later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_clipmed.io import list_studies, open_entry, open_study
from napari_clipmed.io.dicom_write import Uids, write_xa
from napari_clipmed.io.mask_settings import shifted, with_mask
from napari_clipmed.io.subtraction import resubtracted
from napari_clipmed.records import Run, Store
from napari_clipmed.remembered import MASK, as_set, entries_as_set, partners, recall, recall_pairing
from napari_clipmed.study import Intensity, Kind, MaskItem, Projection, Topic


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "workspace") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """AP and LA of one examination, paired by reference, and a third run beside them."""
    rng = np.random.default_rng(5)
    ground = rng.integers(800, 3000, (40, 48))
    place = tmp_path / "runs"
    place.mkdir()
    uids = {name: Uids.seeded(1, "study", name) for name in ("AP", "LA", "OB")}
    partner = {"AP": "LA", "LA": "AP"}
    for number, (name, angle) in enumerate((("AP", 0), ("LA", 90), ("OB", 45)), start=1):
        run = (ground + rng.integers(0, 20, (6, 40, 48)) - 100 * np.arange(6)[:, None, None]).astype(
            np.uint16
        )
        write_xa(
            place / f"{name}.dcm",
            run,
            timing_ms=200.0,
            angles=(angle, 0),
            uids=uids[name],
            mask=MaskItem(mask_frames=(1,)) if name != "OB" else (),
            intensity=Intensity.LINEAR,
            plane={"AP": "BIPLANE A", "LA": "BIPLANE B"}.get(name, "SINGLE PLANE"),
            partner_sop=uids[partner[name]].sop if name in partner else "",
            instance_number=number,
        )
    return place


def test_everything_that_was_set_holds_again(store: Store, folder: Path) -> None:
    as_read = open_study(folder)
    ap, la = as_read.views
    mine = shifted(with_mask(ap.subtraction, [2, 3]), (0.3, -0.4))
    store.set_about(Run.of(ap), Topic.PROJECTION, "OBLIQUE", "Dr A")
    store.set_about(Run.of(la), Topic.TIME_BASE, 125.0)
    store.set_about(Run.of(ap), MASK, mine.to_json(), "Dr A")
    again = open_study(folder)
    study = as_set(again, recall(again, store), me="Dr A")
    assert study.views[0].projection is Projection.OBLIQUE
    assert study.views[1].timing.times_ms.tolist() == [0, 125, 250, 375, 500, 625]
    assert study.views[0].subtraction == mine
    np.testing.assert_array_equal(study.views[0].pixels[4], resubtracted(ap, mine).pixels[4])
    reasons = {guess.what: guess.reason for guess in study.views[0].guesses}
    assert reasons[Topic.PROJECTION].startswith("as set by you on ")
    assert reasons[Topic.SUBTRACTION].startswith("as set by you on ")
    assert study.image_hash == as_read.image_hash
    other = as_set(again, recall(again, store), me="Dr B")
    assert (
        "as set by Dr A on " in {guess.what: guess for guess in other.views[0].guesses}["projection"].reason
    )


def test_the_source_file_is_never_written(store: Store, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    study = open_study(folder)
    store.set_about(Run.of(study.views[0]), MASK, with_mask(study.views[0].subtraction, [2]).to_json())
    as_set(open_study(folder), recall(study, store))
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_kind_is_set_for_the_whole_study(store: Store, folder: Path) -> None:
    study = open_study(folder)
    store.set_about(Run.of(study.views[0]), Topic.KIND, "other")
    assert as_set(study, recall(study, store)).kind is Kind.OTHER


def test_what_cannot_be_understood_is_said_and_left_out(store: Store, folder: Path) -> None:
    study = open_study(folder)
    for key, value in ((Topic.PROJECTION, "SIDEWAYS"), (MASK, {"items": 7}), ("from a newer version", 1)):
        store.set_about(Run.of(study.views[0]), key, value)
    shown = as_set(study, recall(study, store))
    assert len(shown.warnings) == len(study.warnings) + 3
    assert "from a newer version" in shown.warnings[-1]
    assert shown.views[0].projection is study.views[0].projection


def test_masks_do_not_touch_a_run_taken_to_be_subtracted_by_the_scanner(store: Store, folder: Path) -> None:
    third = open_study(folder / "OB.dcm")
    run = Run.of(third.views[0])
    store.set_about(run, Topic.SUBTRACTION, "subtracted")
    store.set_about(run, MASK, with_mask(third.views[0].file_subtraction, [1]).to_json())
    (view,) = as_set(third, recall(third, store)).views
    assert view.subtracted and view.native is None and view.subtraction is None


def test_pairs_are_taken_apart_and_put_together_as_set(store: Store, folder: Path) -> None:
    listed = list_studies(folder)
    assert [len(entry.paths) for entry in listed] == [2, 1]
    (ap, la), (ob,) = listed[0].sops, listed[1].sops
    store.set_about(Run(ap), Topic.PAIRING, ob)
    store.set_about(Run(ob), Topic.PAIRING, ap)
    entries = entries_as_set(listed, recall_pairing(listed, store), "")
    assert [set(entry.sops) for entry in entries] == [{ap, ob}, {la}]
    study = open_entry(entries[0])
    assert len(study.views) == 2
    assert study.pairing.reason.startswith("as set by you on ")
    (first, _) = recall_pairing(listed, store)
    assert partners(first, listed) == {ap, ob}
    store.set_about(Run(ap), Topic.PAIRING, "apart")
    store.set_about(Run(ob), Topic.PAIRING, None)
    entries = entries_as_set(listed, recall_pairing(listed, store), "")
    assert [entry.sops for entry in entries] == [(ap,), (la,), (ob,)]
    (apart,) = recall_pairing(listed, store)
    assert partners(apart, listed) == {ap, la}
