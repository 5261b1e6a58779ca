"""Case bundles: what was said travels whole, meets what is here, and a hostile one brings nothing in."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from test_backup import rewrite

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import Store
from napari_clipmed.records.bundle import Imported, export_bundle, import_bundle
from napari_clipmed.records.bundle_pixels import study_of_bundle
from napari_clipmed.records.files import decode_arrays, encode_arrays
from napari_clipmed.study import Study


@pytest.fixture
def other(tmp_path: Path):
    with Store.open(tmp_path / "other") as opened:
        yield opened


@pytest.fixture
def case(store: Store, study: Study) -> str:
    case = store.case_for(study)
    store.add_label(case, "IA", "accepted", "m", "Dr A", model_version="f" * 64, model_score=0.5)
    store.add_label(case, "MMD", "corrected", "m", "Dr B", "puff of smoke")
    store.add_mask(
        case, 0, 2, np.eye(12, 10, dtype=bool), "nidus", name="nidus", author="Dr A", projected=(1, 3)
    )
    store.restore(store.revisions(case)[0], "Dr C")
    store.add_answer(case, "m", {"AP": {"MMD": 0.5, "IA": 0.5}}, possible=("MMD", "IA"))
    return case


def said(store: Store, case: str) -> list[dict[str, object]]:
    """Revisions without the numbers, which are a store's own."""
    uids = {r.id: r.uid for r in store.revisions(case)} | {None: None}
    return [
        {
            key: value
            for key, value in vars(r).items()
            if key not in ("id", "parent_id", "merges_id", "restored_from")
        }
        | {"links": [uids[r.parent_id], uids[r.merges_id], uids[r.restored_from]]}
        for r in store.revisions(case)
    ]


def test_what_was_said_travels_whole(
    store: Store, other: Store, case: str, tmp_path: Path, make_study: Callable[..., Study]
) -> None:
    other.add_label(other.case_for(make_study(9)), "AS", "accepted")  # numbers differ there
    assert export_bundle(store, case, tmp_path / "c.zip") == 4
    assert import_bundle(other, tmp_path / "c.zip") == Imported(case, 4, 0, 0)
    assert said(other, case) == said(store, case)
    assert other.current_label(case).label == "IA"
    np.testing.assert_array_equal(other.read_mask(other.current_masks(case)[0]), np.eye(12, 10, dtype=bool))
    assert other.newest_answers()[case].probabilities == {"AP": {"MMD": 0.5, "IA": 0.5}}
    assert other.newest_answers()[case].possible == ["MMD", "IA"]
    assert other.case(case).views == store.case(case).views
    assert other.case(case).patient_key != store.case(case).patient_key
    assert import_bundle(other, tmp_path / "c.zip") == Imported(case, 0, 4, 0)
    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert manifest["models"] == [{"id": "m", "sha256": ""}, {"id": "m", "sha256": "f" * 64}]
        for name, entry in manifest["members"].items():
            content = archive.read(name)
            assert (sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["size"])


def test_two_places_that_went_different_ways_meet_in_a_conflict(
    store: Store, other: Store, case: str, tmp_path: Path
) -> None:
    export_bundle(store, case, tmp_path / "1.zip")
    import_bundle(other, tmp_path / "1.zip")
    store.add_label(case, "AM", "corrected", author="here")
    other.add_label(case, "AS", "corrected", author="there")
    export_bundle(other, case, tmp_path / "2.zip")
    assert import_bundle(store, tmp_path / "2.zip") == Imported(case, 1, 4, 1)
    (conflict,) = store.conflicts(case)
    assert (conflict.first.author, conflict.second.author) == ("here", "there")
    store.settle(conflict, conflict.second)
    export_bundle(store, case, tmp_path / "3.zip")
    import_bundle(other, tmp_path / "3.zip")
    assert other.current_label(case).label == "AS"


def test_pixels_travel_without_identity(
    store: Store, other: Store, case: str, study: Study, tmp_path: Path, make_study: Callable[..., Study]
) -> None:
    export_bundle(store, case, tmp_path / "c.zip", study)
    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist()).lower()
        arrays = archive.read("pixels/0.npz")
    for secret in ("PID-4711-SECRET", "Mustermann", "19500101", "run.dcm"):
        assert secret.lower().encode() not in content
        assert secret.lower().encode("utf-32-le") not in content
        assert all(secret.lower() not in str(a).lower() for a in decode_arrays(arrays).values())
    import_bundle(other, tmp_path / "c.zip")
    again = study_of_bundle(tmp_path / "c.zip")
    assert other.find_case(again) == case
    for view, known in zip(again.views, study.views, strict=True):
        np.testing.assert_array_equal(view.pixels, known.pixels)
        np.testing.assert_array_equal(view.timing.times_ms, known.timing.times_ms)
        assert (view.projection, view.timing.known) == (known.projection, known.timing.known)
    assert again.identity.name == "" and again.views[0].source.path == ""
    with pytest.raises(WorkspaceError, match="not the one of this case"):
        export_bundle(store, case, tmp_path / "d.zip", make_study(9))
    assert not (tmp_path / "d.zip").exists()


def test_without_pixels_there_is_no_study(store: Store, case: str, tmp_path: Path) -> None:
    export_bundle(store, case, tmp_path / "c.zip")
    assert study_of_bundle(tmp_path / "c.zip") is None
    with pytest.raises(WorkspaceError, match="already a file"):
        export_bundle(store, case, tmp_path / "c.zip")


def edited(path: Path, change) -> None:
    """Change what case.json says, with checksums that fit: a forger would."""

    def write(members: dict[str, bytes]) -> None:
        content = json.loads(members["case.json"])
        change(content, members)
        members["case.json"] = json.dumps(content).encode()
        manifest = json.loads(members["manifest.json"])
        manifest["members"] = {
            name: {"sha256": sha256(data).hexdigest(), "size": len(data)}
            for name, data in members.items()
            if name != "manifest.json"
        }
        members["manifest.json"] = json.dumps(manifest).encode()

    rewrite(path, write)


def other_images(content, members):
    content["image_hash"] = "0" * 64


def later_parent(content, members):
    content["revisions"][0]["parent"] = content["revisions"][1]["uid"]


def no_such_view(content, members):
    content["revisions"][2]["view_index"] = 7


def no_such_frame(content, members):
    content["revisions"][2]["frame"] = 4


def long_comment(content, members):
    content["revisions"][0]["comment"] = "x" * 20_000


def unknown_field(content, members):
    content["revisions"][0]["id"] = 1


def odd_verdict(content, members):
    content["revisions"][0]["verdict"] = "splendid"


def no_zone(content, members):
    content["revisions"][0]["created_at"] = "2026-01-01T00:00:00"


def mask_missing(content, members):
    del members[next(name for name in members if name.startswith("masks/"))]


def mask_of_another_size(content, members):
    from napari_clipmed.records.files import encode_mask

    del members[next(name for name in members if name.startswith("masks/"))]
    mask = encode_mask(np.ones((500, 500), bool))
    digest = sha256(mask).hexdigest()
    members[f"masks/{digest}.png"] = mask
    content["revisions"][2]["mask_sha256"] = digest


def mask_that_is_none(content, members):
    del members[next(name for name in members if name.startswith("masks/"))]
    digest = sha256(b"GIF89a").hexdigest()
    members[f"masks/{digest}.png"] = b"GIF89a"
    content["revisions"][2]["mask_sha256"] = digest


def climbing_name(content, members):
    members["../evil.txt"] = b"x"


@pytest.mark.parametrize(
    "change",
    [
        other_images,
        later_parent,
        no_such_view,
        no_such_frame,
        long_comment,
        unknown_field,
        odd_verdict,
        no_zone,
        mask_missing,
        mask_of_another_size,
        mask_that_is_none,
        climbing_name,
    ],
)
def test_a_forged_bundle_brings_nothing_in(
    store: Store, other: Store, case: str, tmp_path: Path, change
) -> None:
    export_bundle(store, case, tmp_path / "c.zip")
    edited(tmp_path / "c.zip", change)
    with pytest.raises(WorkspaceError, match="damaged"):
        import_bundle(other, tmp_path / "c.zip")
    assert other.cases() == [] and list(other.workspace.masks.rglob("*.png")) == []


def test_a_flipped_byte_is_noticed(store: Store, other: Store, case: str, tmp_path: Path) -> None:
    export_bundle(store, case, tmp_path / "c.zip")

    def flip(members: dict[str, bytes]) -> None:
        members["case.json"] = members["case.json"].replace(b"puff of smoke", b"puff of smoka")

    rewrite(tmp_path / "c.zip", flip)
    with pytest.raises(WorkspaceError, match="not what was put in"):
        import_bundle(other, tmp_path / "c.zip")


def test_frames_that_are_not_the_cases_are_refused(
    store: Store, case: str, study: Study, tmp_path: Path
) -> None:
    export_bundle(store, case, tmp_path / "c.zip", study)

    def change(content, members) -> None:
        arrays = decode_arrays(members["pixels/0.npz"])
        arrays["frames"][0, 0, 0] ^= 1
        members["pixels/0.npz"] = encode_arrays(arrays)

    edited(tmp_path / "c.zip", change)
    with pytest.raises(WorkspaceError, match="not those of its case"):
        study_of_bundle(tmp_path / "c.zip")


def test_arrays_that_promise_too_much_are_refused_before_memory_is_taken() -> None:
    import io

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("frames.npy", header.getvalue())
    with pytest.raises(ValueError, match="not as long as it says"):
        decode_arrays(stream.getvalue())
    with pytest.raises(ValueError, match="too large"):
        decode_arrays(encode_arrays({"a": np.zeros(1000)}), largest=100)
