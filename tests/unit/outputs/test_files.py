"""PNG, NIfTI, COCO and tables: what was saved comes back, and nobody's name goes out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from reviewed_studies import SECRETS, Reviewed

from napari_clipmed.errors import ClipmedError
from napari_clipmed.outputs import coco, mask_files, products, tables
from napari_clipmed.outputs.coco import box_of, from_run_lengths, run_lengths, write_coco
from napari_clipmed.outputs.mask_files import slug, write_mask_pictures, write_volumes
from napari_clipmed.outputs.products import Result, objects_of, with_masks, write_files, write_objects
from napari_clipmed.outputs.tables import rows_of, write_table
from napari_clipmed.records import Store


def test_pictures_hold_the_masks(run: Reviewed, tmp_path: Path) -> None:
    out = tmp_path / "png"
    write_mask_pictures(run.store, [run.case], out)
    listed = json.loads((out / "masks.json").read_text())["masks"]
    views = {"AP": 0, "LA": 1}
    found = {(views[one["view"]], one["frame_number"] - 1, one["name"]): one for one in listed}
    assert set(found) == set(run.masks)
    for key, one in found.items():
        with Image.open(out / one["file"]) as image:
            np.testing.assert_array_equal(np.asarray(image), run.masks[key] * 255)
            assert "Research use only" in image.text["Comment"]
        assert one["pixels"] == run.masks[key].sum()


@pytest.mark.parametrize("with_study", [True, False])
def test_volumes_have_axes_and_millimetres(run: Reviewed, tmp_path: Path, with_study: bool) -> None:
    write_volumes(run.store, run.case, tmp_path, run.study if with_study else None)
    image = nibabel.load(next(tmp_path.glob("*-AP-aneurysm.nii.gz")))
    volume = np.asarray(image.dataobj)
    assert volume.shape == (45, 37, 6)
    np.testing.assert_array_equal(volume[..., 4].T, run.masks[0, 4, "aneurysm"])
    np.testing.assert_array_equal(volume[..., 1].T, run.masks[0, 1, "aneurysm"])
    assert not volume[..., [0, 2, 3, 5]].any()
    spacing = run.study.views[0].spacing
    wanted = (spacing.column_mm, spacing.row_mm, 1.0) if with_study else (1.0, 1.0, 1.0)
    np.testing.assert_allclose(image.header.get_zooms(), wanted, rtol=1e-6)
    np.testing.assert_allclose(np.diag(image.affine), [-wanted[0], -wanted[1], 1, 1], rtol=1e-6)
    assert image.header.get_xyzt_units()[0] == ("mm" if with_study else "unknown")
    assert b"Research use only" in image.header["descrip"].tobytes()


@settings(max_examples=60, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans()))
def test_run_lengths_are_a_round_trip(mask: np.ndarray) -> None:
    counts = run_lengths(mask)
    assert sum(counts) == mask.size
    np.testing.assert_array_equal(from_run_lengths(counts, mask.shape), mask)


def test_run_lengths_go_down_the_columns() -> None:
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert run_lengths(mask) == [2, 3, 1]
    assert run_lengths(~mask) == [0, 2, 3, 1]
    assert box_of(mask) == [1, 0, 2, 2]


def test_coco_holds_the_masks(run: Reviewed, film: Reviewed, tmp_path: Path) -> None:
    run.store.add_mask(
        run.case, 1, 2, np.zeros((37, 45), bool), name="finding"
    )  # erased: an image, no annotation
    path = write_coco(run.store, [run.case], tmp_path / "masks.json")
    content = json.loads(path.read_text())
    images = {one["id"]: one for one in content["images"]}
    names = {one["id"]: one["name"] for one in content["categories"]}
    found = {}
    for one in content["annotations"]:
        image = images[one["image_id"]]
        key = ({"AP": 0, "LA": 1}[image["view"]], image["frame_number"] - 1, names[one["category_id"]])
        found[key] = from_run_lengths(one["segmentation"]["counts"], one["segmentation"]["size"])
        left, top, width, height = one["bbox"]
        inside = np.zeros_like(found[key])
        inside[top : top + height, left : left + width] = True
        assert not (found[key] & ~inside).any()
        assert one["area"] == found[key].sum()
        assert (image["height"], image["width"]) == found[key].shape
    assert set(found) == set(run.masks)
    for key, mask in run.masks.items():
        np.testing.assert_array_equal(found[key], mask)
    assert len(images) == 4


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_tables_say_what_holds(run: Reviewed, tmp_path: Path, suffix: str) -> None:
    path = write_table(run.store, tmp_path / f"all{suffix}")
    text = path.read_text(encoding="utf-8")
    rows = (
        list(csv.DictReader(text.splitlines()))
        if suffix == ".csv"
        else [json.loads(x) for x in text.splitlines()]
    )
    assert len(rows) == len(run.masks) + 1
    (label,) = [row for row in rows if row["says"] == "label"]
    assert (label["label"], label["verdict"], label["model_label"], label["reader"]) == (
        "IA",
        "corrected",
        "MMD",
        "KL",
    )
    assert not [secret for secret in SECRETS if secret in text]
    assert "ask Z" not in text
    assert "comment" not in text


def test_history_and_comments_only_where_asked(run: Reviewed, tmp_path: Path) -> None:
    run.store.add_label(run.case, "AS", "corrected", author="KL", comment="=SUM(A1)")
    assert [row["label"] for row in rows_of(run.store) if row["label"]] == ["AS"]
    rows = rows_of(run.store, history=True, with_identity=True)
    assert [(r["label"], r["holds"], r["comment"]) for r in rows if r["says"] == "label"] == [
        ("IA", False, "ask Zebulon"),
        ("AS", True, "=SUM(A1)"),
    ]
    path = write_table(run.store, tmp_path / "all.csv", history=True, with_identity=True)
    assert ",'=SUM(A1)," in path.read_text()  # a spreadsheet must not compute it


def test_names_of_files_differ_where_names_differ() -> None:
    assert slug("left lung") == "left_lung"
    assert len({slug(name) for name in ("a/b", "a:b", "a b", "a_b", "x" * 50, "x" * 51)}) == 6
    assert "/" not in slug("../../etc")


@pytest.mark.parametrize("result", [Result.MASKS, Result.NIFTI, Result.COCO, Result.TABLE])
def test_nothing_is_replaced_unasked(run: Reviewed, tmp_path: Path, result: Result) -> None:
    suffix = {Result.COCO: ".json", Result.TABLE: ".csv"}.get(result, "")
    out = tmp_path / f"out{suffix}"
    first = write_files(result, run.store, with_masks(run.store), out)
    with pytest.raises(ClipmedError, match="exists already"):
        write_files(result, run.store, with_masks(run.store), out)
    assert all(path.exists() for path in first)
    assert write_files(result, run.store, with_masks(run.store), out, replace=True) == first


@pytest.mark.parametrize("result", [Result.SEG, Result.SR, Result.CAPTURE])
def test_objects_become_files_of_their_own_name(run: Reviewed, tmp_path: Path, result: Result) -> None:
    written = write_objects(objects_of(result, run.store, run.case, run.study), tmp_path / "out")
    assert len(written) == 2
    with pytest.raises(ClipmedError, match="exists already"):
        write_objects(objects_of(result, run.store, run.case, run.study), tmp_path / "out")


def test_what_does_not_read_back_is_not_kept(
    run: Reviewed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmentations = objects_of(Result.SEG, run.store, run.case, run.study)
    segmentations[1].dataset.PixelData = b"\0" * len(segmentations[1].dataset.PixelData)
    with pytest.raises(ClipmedError, match="not kept"):
        write_objects(segmentations, tmp_path / "seg")
    assert not (tmp_path / "seg").exists()

    monkeypatch.setattr(coco, "run_lengths", lambda mask: [mask.size])
    monkeypatch.setattr(tables, "_lines", lambda rows: '{"case": "another"}\n')
    monkeypatch.setattr(mask_files.nibabel.Nifti1Image, "to_bytes", lambda self: b"\0" * 4096)
    for result, name in ((Result.COCO, "a.json"), (Result.TABLE, "a.jsonl")):
        with pytest.raises(ClipmedError, match="does not read back"):
            write_files(result, run.store, [run.case], tmp_path / name)
        assert not (tmp_path / name).exists()
    with pytest.raises(Exception, match=r"."):
        write_files(Result.NIFTI, run.store, [run.case], tmp_path / "nifti")
    assert not list(tmp_path.glob("nifti/*"))


def test_an_empty_workspace_says_so(tmp_path: Path) -> None:
    with Store.open(tmp_path / "workspace") as store:
        for result in (Result.MASKS, Result.COCO, Result.TABLE):
            with pytest.raises(ClipmedError, match=r"no masks|no label"):
                products.write_files(result, store, [], tmp_path / "x.csv")
