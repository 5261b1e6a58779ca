"""The benchmark of fine-tuning, small: it teaches, judges unseen patients, and says so in Markdown."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))
from small_models import add_diagnosis_model

from napari_clipmed.benchmark import learning
from napari_clipmed.models.registry import Registry
from napari_clipmed.progress import Progress
from napari_clipmed.training.finetune_config import FinetuneConfig


@pytest.mark.slow
def test_a_round_is_judged_on_unseen_patients_of_both_hospitals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPMED_HOME", str(tmp_path / "home"))
    registry = Registry([tmp_path / "models"])
    add_diagnosis_model(registry)
    monkeypatch.setattr(learning, "SHIPPED", {"diagnosis": "tiny-dsa"})
    monkeypatch.setattr(learning, "default_registry", lambda: registry)
    monkeypatch.setattr(learning, "REPLAY", 6)
    config = FinetuneConfig.default("diagnosis", "head", epochs=1)
    found = learning.measure_learning("diagnosis", tmp_path, config, Progress(), corrected=5, unseen=5)
    assert (found.shifted["n"], found.original["n"]) == (5, 5)
    assert found.seconds > 0
    assert found.outcome["replay"]["n"] == 2
    text = learning.learning_section([found], "a machine", ["benchmark finetune"])
    assert text.count("| diagnosis, head, test |") == 2
    assert "5 shifted" in text
    assert "5 original" in text
