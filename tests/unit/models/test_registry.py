"""The registry: versions are whole, verified, safe, and refused in one sentence when they are not."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from napari_clipmed.errors import ModelError
from napari_clipmed.models import loading
from napari_clipmed.models.card import ModelCard
from napari_clipmed.models.registry import (
    Registry,
    build_network,
    default_registry,
    load_network,
    load_tensors,
)

CARD = ModelCard(
    id="tiny", title="Tiny", task="diagnosis", architecture="clip-dsa", config={"width": 3}, licence="CC0"
)


def tiny_network(width: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(width, 2)


@pytest.fixture(autouse=True)
def linear_instead_of_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry cares for any network; a linear layer is the smallest."""
    monkeypatch.setattr(loading, "build_network", lambda card: tiny_network(card.config["width"]))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry([tmp_path / "shipped", tmp_path / "mine"])


def test_what_is_registered_comes_back_with_the_same_numbers(registry: Registry) -> None:
    network = tiny_network()
    entry = registry.register(CARD, network.state_dict() | {"ood.mean": torch.ones(2)})
    again = load_network(registry.get("tiny"))
    x = torch.randn(4, 3)
    assert torch.equal(again(x), network(x))
    assert not again.training
    assert load_tensors(entry)["ood.mean"].tolist() == [1, 1]
    assert registry.get("tiny").card.licence == "CC0"


def test_half_precision_on_disk_becomes_float32(registry: Registry) -> None:
    entry = registry.register(CARD, {k: v.half() for k, v in tiny_network().state_dict().items()})
    assert load_tensors(entry)["weight"].dtype is torch.float16
    assert {p.dtype for p in load_network(entry).parameters()} == {torch.float32}


def test_a_version_is_never_overwritten_by_accident(registry: Registry) -> None:
    first = registry.register(CARD, tiny_network().state_dict())
    with pytest.raises(ModelError, match="already a model 'tiny'"):
        registry.register(CARD, {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)})
    loading.verify_hash(first)
    second = registry.register(CARD, {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, replace=True)
    assert second.card.sha256 != first.card.sha256
    assert load_network(registry.get("tiny")).bias.abs().sum() == 0


def test_a_failed_registration_leaves_nothing(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ModelError, match="No space left"):
        registry.register(CARD, tiny_network().state_dict())
    assert list(registry.roots[-1].iterdir()) == []
    assert registry.list() == []


def test_a_root_that_cannot_be_written_gives_a_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(ModelError, match="could be written"):
        Registry([blocked / "models"]).register(CARD, tiny_network().state_dict())


def test_altered_weights_are_refused(registry: Registry) -> None:
    entry = registry.register(CARD, tiny_network().state_dict())
    data = bytearray(entry.weights.read_bytes())
    data[-1] ^= 1
    entry.weights.write_bytes(data)
    with pytest.raises(ModelError, match="altered or damaged"):
        load_network(entry)


def write_model(folder: Path, weights: bytes, **card: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "card.json").write_text(json.dumps(CARD.model_dump() | card))
    return folder


def test_pickles_and_torch_archives_are_refused_by_name_and_never_run(tmp_path: Path) -> None:
    witness = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (witness,))

    registry = Registry([tmp_path / "mine"])
    folder = write_model(tmp_path / "a", pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="a Python pickle"):
        registry.import_model(folder)
    archive = tmp_path / "weights.pt"
    torch.save({"bomb": Bomb()}, archive)
    with pytest.raises(ModelError, match="torch archive"):
        registry.import_model(archive)
    with pytest.raises(ModelError, match="torch archive"):
        registry.import_model(write_model(tmp_path / "b", archive.read_bytes()))
    with pytest.raises(ModelError, match="not a safetensors file"):
        registry.import_model(write_model(tmp_path / "c", b"hello, I am a poem and not a model"))
    assert not witness.exists()


def test_a_header_length_that_looks_like_a_pickle_is_no_pickle(registry: Registry) -> None:
    """One safetensors file in 32 opens with the byte 0x80, since the header length may be 128."""
    lengths = set()
    for padding in range(300):
        entry = registry.register(
            CARD, tiny_network().state_dict() | {f"ood.{'x' * padding}": torch.ones(1)}, replace=True
        )
        lengths.add(entry.weights.read_bytes()[0])
        loading.refuse_unsafe(entry.weights)
        if 0x80 in lengths:
            return
    pytest.fail("no header of such a length was made")


def test_a_wrong_architecture_is_one_short_sentence(registry: Registry) -> None:
    entry = registry.register(CARD, tiny_network(5).state_dict())
    with pytest.raises(ModelError, match="do not fit the clip-dsa network") as caught:
        load_network(entry)
    assert len(str(caught.value)) < 300


def test_a_configuration_that_is_none_is_a_sentence() -> None:
    with pytest.raises(ModelError, match="does not describe a clip-dsa network"):
        build_network(CARD.model_copy(update={"config": {"nonsense": 1}}))


def test_export_and_import_carry_a_model_to_another_machine(registry: Registry, tmp_path: Path) -> None:
    registry.register(CARD, tiny_network().state_dict())
    carried = registry.export_model("tiny", tmp_path / "stick")
    (carried / "notes with a name.txt").write_text("not part of the model")
    there = Registry([tmp_path / "other"])
    entry = there.import_model(carried / "model.safetensors")
    assert entry.folder == tmp_path / "other" / "tiny"
    assert sorted(p.name for p in entry.folder.iterdir()) == ["card.json", "model.safetensors"]
    assert there.import_model(carried) == entry, "twice is once"
    with pytest.raises(ModelError, match="Another model with the id"):
        other = Registry([tmp_path / "third"])
        other.register(CARD, {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)})
        there.import_model(tmp_path / "third" / "tiny")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "broken"), ('{"id": "x"}', "title"), (json.dumps(CARD.model_dump() | {"id": "../up"}), "id")],
)
def test_a_broken_card_is_told_and_hides_no_other_model(registry: Registry, text: str, message: str) -> None:
    registry.register(CARD, tiny_network().state_dict())
    (registry.roots[0] / "bad").mkdir(parents=True)
    (registry.roots[0] / "bad" / "card.json").write_text(text)
    assert [entry.id for entry in registry.list()] == ["tiny"]
    assert len(registry.problems()) == 1
    assert message in registry.problems()[0]


def test_the_default_is_the_chosen_one_else_the_first(registry: Registry) -> None:
    with pytest.raises(ModelError, match="No diagnosis model"):
        registry.default("diagnosis")
    shipped = registry.register(CARD, tiny_network().state_dict(), registry.roots[0])
    tuned = CARD.model_copy(update={"id": "tuned", "parent": "tiny"})
    registry.register(tuned, tiny_network().state_dict())
    assert registry.default("diagnosis").id == shipped.id
    registry.set_default("diagnosis", "tuned")
    assert registry.default("diagnosis").id == "tuned"
    assert Registry(registry.roots).default("diagnosis").card.parent == "tiny"
    with pytest.raises(ModelError, match="not a segmentation model"):
        registry.set_default("segmentation", "tuned")
    (registry.roots[-1] / "active.json").write_text("damaged")
    assert registry.default("diagnosis").id == shipped.id


def test_an_unknown_id_lists_what_there_is(registry: Registry) -> None:
    registry.register(CARD, tiny_network().state_dict())
    with pytest.raises(ModelError, match="Models here: tiny"):
        registry.get("tinny")


def test_the_persons_models_live_under_clipmed_home(clipmed_home: Path, tmp_path: Path) -> None:
    roots = default_registry(tmp_path / "workspace").roots
    assert roots[-2:] == (clipmed_home / "models", tmp_path / "workspace" / "models")


def test_listing_models_needs_no_torch() -> None:
    code = (
        "import sys; from napari_clipmed.models.registry import default_registry;"
        "default_registry().list(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
