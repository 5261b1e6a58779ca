"""Features on disk answer after a restart, and anything but what was written is a miss."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_studies import bolus, make_study, make_view

from napari_clipmed.inference import features
from napari_clipmed.inference.cache import FeatureCache
from napari_clipmed.inference.disk_features import DiskFeatures
from napari_clipmed.inference.engine import Engine
from napari_clipmed.inference.features import EncodedFilm, FeatureKey, name_picture
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.study import Study

KEY = FeatureKey("film", "pixels", 3, Preprocessing(), "model", "cpu", "bf16")


def film(value: float = 1.0, side: int = 8) -> EncodedFilm:
    return EncodedFilm(torch.full((1, 4, side, side), value, dtype=torch.bfloat16))


@pytest.fixture
def disk(tmp_path: Path) -> DiskFeatures:
    return DiskFeatures(tmp_path / "features", 64)


def the_file(disk: DiskFeatures) -> Path:
    (path,) = disk.folder.glob("*.safetensors")
    return path


@pytest.mark.parametrize("name", [field.name for field in fields(FeatureKey)])
def test_any_other_ingredient_is_another_key(name: str) -> None:
    other = {"frame": 4, "preprocessing": Preprocessing(size=192)}.get(name, "another")
    changed = replace(KEY, **{name: other})
    assert changed != KEY
    assert changed.digest != KEY.digest


@pytest.mark.parametrize("field", [field.name for field in fields(Preprocessing)])
def test_any_other_preprocessing_is_another_key(field: str) -> None:
    others = {"size": 96, "n_frames": 8, "fit": "squash", "percentiles": (1.0, 99.0)}
    changed = replace(KEY, preprocessing=replace(KEY.preprocessing, **{field: others.get(field, (0.1,) * 3)}))
    assert changed.digest != KEY.digest


@pytest.mark.parametrize("what", ["torch", "package", "format"])
def test_another_version_is_another_key(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "torch":
        monkeypatch.setattr(torch, "__version__", "9.9.9")
    elif what == "package":
        monkeypatch.setattr(features, "_package", lambda: "9.9.9")
    else:
        monkeypatch.setattr(features, "FORMAT", 99)
    assert replace(KEY).digest != KEY.digest


def test_the_name_of_a_picture_says_whether_it_is_subtracted() -> None:
    pixels = bolus(3)
    assert name_picture(make_view(pixels)) != name_picture(make_view(pixels, subtracted=False))
    assert name_picture(make_view(pixels)) != name_picture(make_view(255 - pixels))


def test_a_feature_comes_back_as_it_was(disk: DiskFeatures) -> None:
    assert disk.get(KEY) is None
    disk.put(KEY, film(0.3))
    back = disk.get(KEY)
    assert torch.equal(back.features, film(0.3).features)
    assert back.features.dtype is torch.bfloat16
    assert disk.get(replace(KEY, frame=4)) is None
    assert not list(disk.folder.glob("*unfinished*"))


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "header", "pickle", "swapped"])
def test_a_damaged_file_is_a_miss_and_goes(disk: DiskFeatures, damage: str) -> None:
    disk.put(KEY, film())
    path = the_file(disk)
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[-7] ^= 1
    elif damage == "swapped":
        other = replace(KEY, frame=9)
        disk.put(other, film(2))
        content = bytearray((disk.folder / f"{other.digest}.safetensors").read_bytes())
    else:
        whole = bytes(content)
        content = bytearray(
            {"cut": whole[:-9], "empty": b"", "header": b"\xff" * 64, "pickle": b"\x80\x04K\x01."}[damage]
        )
    path.write_bytes(content)
    assert disk.get(KEY) is None
    assert not path.exists()


def test_the_budget_holds_and_the_longest_unused_goes_first(tmp_path: Path) -> None:
    disk = DiskFeatures(tmp_path, 0.1)  # about 12 films of 8 KiB
    keys = [replace(KEY, frame=frame) for frame in range(30)]
    for age, key in enumerate(keys):
        disk.put(key, film(side=32))
        import os

        os.utime(disk._path(key), (1000 + age, 1000 + age))
        if age >= 2:
            assert disk.get(keys[0]) is not None, "what is used stays"
    files = list(tmp_path.glob("*.safetensors"))
    assert 2 < len(files) < 14
    assert sum(file.stat().st_size for file in files) <= 0.1 * 2**20
    assert disk.get(keys[1]) is None
    disk.put(replace(KEY, frame=99), film(side=256))
    assert disk.get(replace(KEY, frame=99)) is None, "larger than the budget"


def test_a_folder_that_cannot_be_made_keeps_nothing_and_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    disk = DiskFeatures(tmp_path / "file" / "features", 64)
    disk.put(KEY, film())
    assert disk.get(KEY) is None


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time a picture is read by a network."""
    calls: list[str] = []
    for network, name in ((ClipDSA, "trunk"), (CausalCLIPSeg, "encode_image")):
        original = getattr(network, name)

        def counting(self, images, original=original, name=name):  # noqa: ANN001, ANN202
            calls.append(name)
            return original(self, images)

        monkeypatch.setattr(network, name, counting)
    return calls


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_study_seen_before_is_answered_after_a_restart_without_reading_it(
    disk: DiskFeatures,
    biplane: Study,
    diagnosis_model: ModelEntry,
    segmentation_model: ModelEntry,
    readings: list[str],
    precision: str,
) -> None:
    def started() -> Engine:
        cache = FeatureCache(disk=DiskFeatures(disk.folder, 64))
        return Engine(diagnosis_model, segmentation_model, device="cpu", precision=precision, cache=cache)

    first = started()
    before = first.classify(biplane)
    maps = first.explain(before, "IA").maps["LA"]
    mask = first.segment(biplane.views[0], 2, "left lung").probability
    assert readings
    readings.clear()

    again = started()
    reopened = make_study(*biplane.views)
    answer = again.classify(reopened)
    assert answer.combined == before.combined
    assert answer.notes == before.notes
    assert np.array_equal(again.explain(answer, "IA").maps["LA"], maps)
    assert np.array_equal(again.segment(biplane.views[0], 2, "left lung").probability, mask)
    assert readings == []
    assert again.cache.use.from_disk == 3


def test_no_question_but_another_picture_reads_a_picture(
    biplane: Study, diagnosis_model: ModelEntry, segmentation_model: ModelEntry, readings: list[str]
) -> None:
    engine = Engine(diagnosis_model, segmentation_model, device="cpu", precision="fp32")
    diagnosis = engine.classify(biplane)
    engine.segment(biplane.views[0], 0, "left lung")
    readings.clear()
    for method in ("gradcam", "layercam", "eigencam"):
        for label in diagnosis.labels:
            engine.explain(diagnosis, label, method)
    engine.explain_all(diagnosis, "hirescam")
    for prompt in ("right lung", "both lungs"):
        engine.segment(biplane.views[0], 0, prompt).mask(0.3)
    engine.segment_many(biplane.views[0], 0, ["upper left lung", "lower right lung"], "patient")
    engine.segment_ensemble(biplane.views[0], 0, "lower right lung")
    assert readings == []
    engine.segment(biplane.views[0], 1, "left lung")
    assert readings == ["encode_image"]
