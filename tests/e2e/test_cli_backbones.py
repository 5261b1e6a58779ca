"""Backbones on the command line: listed, described, converted, trained on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from small_clips import small_clip, state_of, write_archive, write_folder  # noqa: E402

from napari_clipmed.cli.train import _asked_backbone  # noqa: E402
from napari_clipmed.errors import Cancelled  # noqa: E402
from napari_clipmed.models.backbones import clip_config, create_clip  # noqa: E402
from napari_clipmed.models.clip_dsa import ClipDSA  # noqa: E402
from napari_clipmed.training import causal_clipseg, clip_dsa  # noqa: E402
from napari_clipmed.training.segmentation_config import read_config  # noqa: E402


def test_the_list_says_what_is_here_and_what_is_lacking(call: Any, monkeypatch: Any) -> None:
    code, out, _ = call("models", "backbones", "--json")
    rows = {row["spec"]: row for row in json.loads(out)["backbones"]}
    assert code == 0
    assert {"RN50:openai", "RN101:openai"} <= rows.keys()
    assert all(row["licence"] and row["learned_from"] for row in rows.values())
    code, out, _ = call("models", "backbones")
    assert code == 0
    assert "BiomedCLIP-PubMedBERT" in out


def test_a_file_is_described_and_tried(call: Any, tmp_path: Path) -> None:
    save_file(state_of(small_clip()), tmp_path / "w.safetensors")
    code, out, _ = call("models", "backbone", tmp_path / "w.safetensors", "--load", "--json")
    facts = json.loads(out)
    assert (code, facts["spec"], facts["image_size"], facts["embedding"]) == (0, "w.safetensors", 64, 32)
    assert facts["trains"] == ["clip-dsa"]
    code, out, _ = call("models", "backbone", f"clipmed-compact@{tmp_path / 'w.safetensors'}", "--load")
    assert code == 1
    code, out, err = call("models", "backbone", "RN51")
    assert (code, "no backbone called 'RN51'" in err) == (1, True)


def test_an_archive_is_converted_only_with_trust(call: Any, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "RN50.pt", small_clip())
    code, _, err = call("models", "convert", archive)
    assert (code, "--trust" in err, "program" in err) == (1, True, True)
    code, out, _ = call("models", "convert", archive, "--trust", "--out", tmp_path / "safe", "--json")
    spec = json.loads(out)["spec"]
    assert code == 0
    assert call("models", "backbone", spec, "--load")[0] == 0


def test_training_begins_with_the_named_backbone(call: Any, tmp_path: Path, monkeypatch: Any) -> None:
    source = small_clip(seed=11)
    save_file(state_of(source), tmp_path / "w.safetensors")
    spec = f"clipmed-tiny@{tmp_path / 'w.safetensors'}"
    asked: list[Any] = []

    def begin(data: Path, recipe: Any, *rest: Any, **options: Any) -> None:
        asked.append(recipe)
        raise Cancelled

    monkeypatch.setattr(clip_dsa, "train", begin)
    monkeypatch.setattr(causal_clipseg, "train", begin)
    common = ("--data", tmp_path, "--out", tmp_path / "run", "--backbone", spec)
    code, _, err = call("train", "causal-clipseg", *common)
    assert (code, "as wide as the embedding" in err) == (1, True), "before anything is read"
    assert call("train", "clip-dsa", *common)[0] == 130
    assert call("train", "clip-dsa", *common[:4], "--backbone", "clipmed-tiny")[0] == 130
    assert [recipe.backbone for recipe in asked] == [spec, "clipmed-tiny"]
    network = ClipDSA(asked[0].backbone)
    assert torch.equal(network.clip.token_embedding.weight, source.token_embedding.weight)
    assert torch.equal(network.visual.conv1.weight, source.visual.conv1.weight)
    assert str(tmp_path) not in json.dumps(network.config)
    assert _asked_backbone(spec) == " --backbone clipmed-tiny@w.safetensors"


def test_segmentation_on_a_backbone_reads_its_whole_vocabulary(tmp_path: Path) -> None:
    config = clip_config("clipmed-tiny") | {"embed_dim": 64}
    folder = write_folder(tmp_path / "clip", spec=config)
    settings = read_config("causal_clipseg_compact").on_backbone(f"local-dir:{folder}")
    small = settings.model | {"masker_channels": 8, "decoder_channels": 8}
    network = causal_clipseg.CausalCLIPSeg(**small)
    assert len(network.vocabulary) == 49408
    assert torch.equal(network.backbone.visual.conv1.weight, create_clip(str(folder)).visual.conv1.weight)
