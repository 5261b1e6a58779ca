"""The main job as a stranger runs it: one command, a real window, a report, photographs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

LABELS = {"Control", "MMD", "IA", "AM", "AS"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that one headless run left."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        pytest.skip("no display; `make test` starts one")
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "napari_clipmed.cli", "demo", "--headless", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def report(demo: Path) -> dict:
    return json.loads((demo / "report.json").read_text(encoding="utf-8"))


def test_study_was_understood_as_a_simulated_biplane_run(report: dict) -> None:
    study = report["study"]
    assert study["synthetic"] is True
    assert study["views"] == ["AP", "LA"]
    assert all(len(study["times_ms"][view]) == study["frames"][view] > 8 for view in ("AP", "LA"))
    assert study["pairing_rule"]
    assert all(study["subtracted"].values())


def test_predicted_is_the_truth_and_probabilities_add_up(report: dict) -> None:
    answer = report["classification"]
    assert answer["predicted"] == answer["truth"] == "MMD"
    for row in answer["probabilities"].values():
        assert set(row) == LABELS
        assert sum(row.values()) == pytest.approx(1.0, abs=1e-4)
    assert set(answer["probabilities"]) == {"AP", "LA", "both"}


def test_saliency_names_frames_of_the_run(report: dict) -> None:
    saliency = report["saliency"]
    for view, frame in saliency["decisive_frame_number"].items():
        assert 1 <= frame <= report["study"]["frames"][view]
    assert isinstance(saliency["pointing_game_hit"], bool)


def test_sentence_gave_a_mask_that_finds_the_areas(report: dict) -> None:
    assert report["segmentation"]["prompt"]
    assert 0.3 < report["segmentation"]["dice"] <= 1.0


def test_finetuning_registered_a_new_version_and_says_honestly_what_it_did(report: dict) -> None:
    tuned = report["finetune"]
    assert tuned["model_id"] != tuned["parent"] == report["classification"]["model"]
    assert tuned["improved"] == (tuned["after"]["macro_f1"] > tuned["before"]["macro_f1"])
    assert tuned["judged_on"] in ("validation", "training")
    assert report["timings_s"]["finetune"] > 0


@pytest.mark.parametrize(
    "name", ["screenshot", "dock_study", "dock_diagnosis", "dock_segment", "dock_finetune"]
)
def test_photographs_show_a_window_with_content(demo: Path, name: str) -> None:
    picture = np.asarray(Image.open(demo / f"{name}.png").convert("RGB")).astype(int)
    assert picture.shape[1] >= 1200
    assert picture.std() > 20


def test_overlay_is_coloured_where_the_image_is_grey(demo: Path) -> None:
    picture = np.asarray(Image.open(demo / "screenshot.png").convert("RGB")).astype(int)
    canvas = picture[:, : int(0.6 * picture.shape[1])]
    coloured = np.ptp(canvas, axis=2) > 60
    assert coloured.mean() > 0.002
