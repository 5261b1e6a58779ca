"""QaTa-COV19 in its two folder layouts, and who is whose patient."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from qata_folder import make_qata

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.training.qata_data import (
    load_split,
    patient_of,
    patients_of,
    read_patients,
    without_patients,
)


@pytest.mark.parametrize("layout", ["LanGuideMedSeg", "LViT"])
def test_both_layouts_say_the_same(tmp_path: Path, layout: str):
    make_qata(tmp_path / "a" / "b", {"Train": 5, "Val": 3, "Test": 2}, layout)
    for split, count in (("Train", 5), ("val", 3), ("TEST", 2)):
        items = load_split(tmp_path, split)
        assert len(items) == count
        assert all(item.image.is_file() and item.mask.is_file() for item in items)
        assert all(item.mask.name == f"mask_{item.id}.png" for item in items)
        assert all(item.sentence.endswith("lung.") for item in items)
    assert load_split(tmp_path, "Train")[0].patient == "sub-s00000"


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("layout", "split", "count"),
    [("LanGuideMedSeg", "Train", 11), ("LanGuideMedSeg", "Test", 5), ("LViT", "Val", 3), ("LViT", "Test", 5)],
)
def test_the_samples_of_public_code(shared_data: Path, layout: str, split: str, count: int):
    items = load_split(shared_data / "qata" / "layout_samples" / layout, split)
    assert len(items) == count
    assert all("infection" in item.sentence.lower() for item in items)


def test_rows_that_come_twice_count_once(tmp_path: Path):
    make_qata(tmp_path, {"Train": 3})
    table = tmp_path / "prompt" / "train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[-1]]) + "\n")
    assert len(load_split(tmp_path, "Train")) == 3


def test_patients_from_names_and_from_a_table(tmp_path: Path):
    assert (
        patient_of("cxr_s10116-e20003-r1")
        == patient_of("sub-s10116_ses-e1_run-1_bp-chest_cr")
        == "sub-s10116"
    )
    assert patient_of("covid_0001") == "covid_0001"
    make_qata(tmp_path, {"Train": 4})
    (tmp_path / "patients.csv").write_text("id,patient\ncxr_s00000-eTrain0-r1,anna\n")
    items = load_split(tmp_path, "Train", read_patients(tmp_path / "patients.csv"))
    assert [item.patient for item in items[:2]] == ["anna", "sub-s00000"]


def test_patients_of_another_split_are_left_out(tmp_path: Path):
    make_qata(tmp_path, {"Train": 8, "Val": 6})
    train, val = load_split(tmp_path, "Train"), load_split(tmp_path, "Val")
    shared = {item.patient for item in train} & {item.patient for item in val}
    assert shared == {"sub-s00000"}
    kept = without_patients(train, val)
    assert len(kept) == 6 and not {item.patient for item in kept} & {item.patient for item in val}
    assert "sub-s00000" in patients_of(tmp_path, "Train")
    assert patients_of(tmp_path, "Test") == frozenset()


def test_what_is_wrong_is_said(tmp_path: Path):
    with pytest.raises(UnreadableFileError, match="holds no Val split"):
        load_split(tmp_path, "Val")
    with pytest.raises(UnreadableFileError, match="no split 'dev'"):
        load_split(tmp_path, "dev")
    make_qata(tmp_path, {"Train": 3})
    with pytest.raises(UnreadableFileError, match="no table of patients"):
        read_patients(tmp_path / "prompt" / "train.csv")
    next((tmp_path / "Train" / "GTs").iterdir()).unlink()
    with pytest.raises(UnreadableFileError, match="1 of the radiographs"):
        load_split(tmp_path, "Train")
    (tmp_path / "prompt" / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UnreadableFileError, match="lacks the columns"):
        load_split(tmp_path, "Train")
    shutil.rmtree(tmp_path / "prompt")
    with pytest.raises(UnreadableFileError, match="holds none of"):
        load_split(tmp_path, "Train")
