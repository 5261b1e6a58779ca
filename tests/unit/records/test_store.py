"""Revisions: what is written is read back, nothing is replaced, everything can be taken back."""

from __future__ import annotations

import sqlite3
from datetime import UTC
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import PatientBasis, RevisionKind, SplitRole, Store, Verdict
from napari_clipmed.study import PatientIdentity, Study


def test_a_label_is_read_back_whole(store: Store, study: Study) -> None:
    case = store.case_for(study)
    written = store.add_label(case, "MMD", Verdict.CORRECTED, "clip-dsa-compact", "Dr A", "puff of smoke")
    read = store.current_label(case)
    assert read == written
    assert (read.label, read.verdict, read.author) == ("MMD", Verdict.CORRECTED, "Dr A")
    assert (read.model_id, read.comment) == ("clip-dsa-compact", "puff of smoke")
    assert read.image_hash == study.image_hash
    assert read.software.startswith("napari-clipmed ")
    assert read.created_at.tzinfo == UTC


def test_a_correction_follows_and_keeps_what_it_corrects(store: Store, study: Study) -> None:
    case = store.case_for(study)
    first = store.add_label(case, "IA", "accepted")
    second = store.add_label(case, "AS", "corrected")
    assert second.parent_id == first.id
    assert [r.label for r in store.revisions(case)] == ["IA", "AS"]
    assert store.current_labels() == {case: second}


def test_undo_walks_back_and_works_after_reopening(tmp_path: Path, study: Study) -> None:
    with Store.open(tmp_path / "w") as store:
        case = store.case_for(study)
        for label in ("Control", "IA", "AS"):
            store.add_label(case, label, "corrected")
    with Store.open(tmp_path / "w") as store:
        assert store.undo(store.current_label(case)).label == "IA"
        assert store.undo(store.current_label(case)).label == "Control"
        taken_back = store.undo(store.current_label(case))
        assert taken_back.withdrawn
        assert store.current_label(case) is None
        assert store.undo(taken_back) == taken_back
        redone = store.restore(store.revisions(case)[2], author="Dr B")
        assert store.current_label(case).label == "AS"
        assert redone.author == "Dr B"
        assert len(store.revisions(case)) == 7


def test_masks_are_lossless_and_current_per_frame_and_name(store: Store, study: Study) -> None:
    case = store.case_for(study)
    rng = np.random.default_rng(1)
    masks = [rng.random((12, 10)) > 0.5 for _ in range(3)]
    store.add_mask(case, 0, 2, masks[0], "the left lung", model_prompt="left lung")
    store.add_mask(case, 0, 2, masks[1], "the left lung")
    other = store.add_mask(case, 1, 3, masks[2], "nidus", name="nidus", threshold=0.4)
    current = store.current_masks(case)
    assert [(r.view_index, r.frame) for r in current] == [(0, 2), (1, 3)]
    np.testing.assert_array_equal(store.read_mask(current[0]), masks[1])
    np.testing.assert_array_equal(store.read_mask(current[1]), masks[2])
    assert other.sop_instance_uid == study.views[1].source.sop_instance_uid
    first = store.revisions(case)[0]
    assert first.model_prompt == "left lung"
    np.testing.assert_array_equal(store.read_mask(first), masks[0])
    assert store.undo(other).withdrawn
    assert len(store.all_current_masks()) == 1


def test_a_projected_mask_says_over_which_frames(store: Store, study: Study) -> None:
    case, mask = store.case_for(study), np.eye(12, 10, dtype=bool)
    single = store.add_mask(case, 0, 2, mask, name="nidus")
    projected = store.add_mask(case, 0, 2, mask, name="nidus", projected=(1, 3))
    assert (single.projected, projected.projected) == (None, (1, 3))
    assert not single.says_the_same(projected)
    assert store.current_masks(case) == [projected]
    assert store.restore(single).projected is None
    assert store.restore(projected).projected == (1, 3)
    with pytest.raises(ValueError, match="not among"):
        store.add_mask(case, 0, 0, mask, projected=(1, 3))


def test_prompts_and_comments_are_revisions_too(store: Store, study: Study) -> None:
    case = store.case_for(study)
    store.add_prompt(case, 0, 1, "vessel", convention="patient", model_id="m")
    store.add_comment(case, "motion", "Dr A")
    assert [r.kind for r in store.revisions(case)] == [RevisionKind.PROMPT, RevisionKind.COMMENT]
    assert store.current_label(case) is None


def test_an_altered_mask_file_is_noticed(store: Store, study: Study) -> None:
    revision = store.add_mask(store.case_for(study), 0, 0, np.ones((12, 10), bool))
    (path,) = store.workspace.masks.rglob("*.png")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(WorkspaceError, match="altered"):
        store.read_mask(revision)
    path.unlink()
    with pytest.raises(WorkspaceError, match="missing"):
        store.read_mask(revision)


def test_cases_are_keyed_by_pixels_and_uids(store: Store, make_study) -> None:
    first, again, other = make_study(1), make_study(1), make_study(2)
    assert store.case_for(first) == store.case_for(again) == store.find_case(first)
    assert store.case_for(other) != store.case_for(first)
    assert store.find_case(make_study(3)) is None
    cases = store.cases()
    assert len(cases) == 2
    assert cases[0].patient_key == cases[1].patient_key
    assert [v.projection for v in cases[0].views] == ["AP", "LA"]


def test_without_a_patient_the_key_says_what_it_stands_for(store: Store, make_study) -> None:
    from dataclasses import replace

    nameless = replace(make_study(1), identity=PatientIdentity())
    assert store.case(store.case_for(nameless)).patient_basis is PatientBasis.STUDY
    views = tuple(replace(v, source=replace(v.source, study_instance_uid="")) for v in nameless.views)
    picture = replace(nameless, views=views, title="other")
    assert store.case(store.case_for(make_study(4))).patient_basis is PatientBasis.PATIENT
    assert store.case_for(picture) == store.case_for(nameless)  # same pixels, same SOP Instance UIDs


def test_unknown_cases_and_views_are_refused(store: Store, study: Study) -> None:
    with pytest.raises(KeyError):
        store.add_label("no such case", "MMD", "accepted")
    case = store.case_for(study)
    with pytest.raises(KeyError):
        store.add_mask(case, 7, 0, np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="verdict|Verdict"):
        store.add_label(case, "MMD", "perhaps")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE revisions SET label = 'IA'",
        "DELETE FROM revisions",
        "INSERT OR REPLACE INTO revisions SELECT * FROM revisions",
        "UPDATE cases SET patient_key = 'x'",
        "DELETE FROM case_views",
        "UPDATE split_members SET role = 'train'",
        "INSERT OR REPLACE INTO split_members SELECT * FROM split_members",
        "DELETE FROM snapshots",
    ],
)
def test_the_database_itself_refuses_changes(store: Store, study: Study, statement: str) -> None:
    case = store.case_for(study)
    store.add_label(case, "MMD", "accepted")
    store.save_inputs(case, {"AP": np.zeros((2, 4, 4), np.uint8)})
    store.freeze_roles("diagnosis", {"p": SplitRole.VALIDATION})
    foreign = sqlite3.connect(store.workspace.database)  # any other program, without our settings
    with pytest.raises(sqlite3.IntegrityError, match="never changed or removed"), foreign:
        foreign.execute(statement)
    foreign.close()
    assert store.current_label(case).label == "MMD"
    assert store.split_roles("diagnosis") == {"p": SplitRole.VALIDATION}


def test_inputs_keep_the_newest_array_of_each_name(store: Store, study: Study) -> None:
    case = store.case_for(study)
    run, frame = np.full((2, 4, 4), 7, np.uint8), np.full((4, 4), 9, np.uint8)
    store.save_inputs(case, {"AP": run, "LA": run})
    store.save_inputs(case, {"AP": run, "LA": run})
    store.save_inputs(case, {"frame-0-3": frame})
    store.save_inputs(case, {"LA": run + 1})
    inputs = store.inputs(case)
    np.testing.assert_array_equal(inputs["AP"], run)
    np.testing.assert_array_equal(inputs["LA"], run + 1)
    np.testing.assert_array_equal(inputs["frame-0-3"], frame)
    assert store.input_names() == {case: {"AP", "LA", "frame-0-3"}}
    assert len(list(store.workspace.inputs.rglob("*.npz"))) == 3
    with pytest.raises(ValueError, match="uint8"):
        store.save_inputs(case, {"AP": run.astype(np.float32)})


def test_a_role_given_once_stays(store: Store) -> None:
    store.freeze_roles("diagnosis", {"a": SplitRole.TRAIN, "b": SplitRole.VALIDATION})
    store.freeze_roles("diagnosis", {"a": SplitRole.TRAIN, "c": SplitRole.TRAIN})
    with pytest.raises(WorkspaceError, match="meanwhile"):
        store.freeze_roles("diagnosis", {"b": SplitRole.TRAIN, "d": SplitRole.TRAIN})
    assert set(store.split_roles("diagnosis")) == {"a", "b", "c"}
    assert store.split_roles("segmentation") == {}


def test_several_threads_write_without_losing_a_revision(store: Store, study: Study) -> None:
    case = store.case_for(study)

    def write(author: str) -> None:
        for _ in range(10):
            store.add_label(case, "MMD", "accepted", author=author)

    threads = [Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    revisions = store.revisions(case)
    assert len(revisions) == 30
    assert [r.parent_id for r in revisions[1:]] == [r.id for r in revisions[:-1]]
