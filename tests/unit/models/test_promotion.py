"""Promotion: by a person, refused where it got worse, on record, and taken back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))
from tiny_models import diagnosis_model

from napari_clipmed.errors import ModelError
from napari_clipmed.models.promotion import WorseModelError, previous, promote, promotions, roll_back
from napari_clipmed.models.registry import Registry, load_tensors


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A base and two children, one better and one worse."""
    root = tmp_path / "models"
    registry = Registry([root])
    base = diagnosis_model(root, "a-base")
    for name, after in (("better", 0.8), ("worse", 0.6)):
        figures = {"finetune": {"before": {"macro_f1": 0.7}, "after": {"macro_f1": after}}}
        card = base.card.model_copy(update={"id": name, "parent": "a-base", "metrics": figures})
        registry.register(card, load_tensors(base))
    return registry


def test_a_worse_model_is_refused_without_a_reason(registry: Registry) -> None:
    with pytest.raises(WorseModelError, match=r"worse than a-base: macro F1 0\.600 after 0\.700"):
        promote(registry, "worse")
    with pytest.raises(WorseModelError):
        promote(registry, "worse", "   ")
    assert registry.default("diagnosis").id == "a-base"
    assert promotions(registry.roots[-1]) == []
    promote(registry, "worse", "It knows our scanner")
    (row,) = promotions(registry.roots[-1])
    assert (row["model"], row["before"], row["reason"]) == ("worse", "a-base", "It knows our scanner")
    assert "worse" in row["doubt"]


def test_any_version_answers_again(registry: Registry) -> None:
    with pytest.raises(ModelError, match="No other diagnosis model"):
        roll_back(registry, "diagnosis")
    promote(registry, "better")
    promote(registry, "worse", "to try")
    assert previous(registry, "diagnosis") == "better"
    assert roll_back(registry, "diagnosis").id == "better"
    assert roll_back(registry, "diagnosis", to="a-base").id == "a-base"
    assert registry.default("diagnosis").id == "a-base"
    assert [row["how"] for row in promotions(registry.roots[-1])] == ["promoted"] * 2 + ["rolled back"] * 2


def test_an_altered_or_unsafe_file_is_never_promoted(registry: Registry) -> None:
    weights = registry.get("better").weights
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match="'better' do not match the hash"):
        promote(registry, "better")
    weights.write_bytes(b"\x80\x04\x95 a pickle")
    with pytest.raises(ModelError, match="a Python pickle"):
        promote(registry, "better")
    assert registry.default("diagnosis").id == "a-base"
