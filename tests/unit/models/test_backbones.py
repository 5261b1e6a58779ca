"""One function builds every backbone, offline and without unpickling."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from napari_clipmed.errors import ModelError
from napari_clipmed.models.backbones import (
    clip_config,
    create_clip,
    modified_resnet,
    sentence_features,
    tokenizer_for,
)


def test_shipped_config_by_name_and_by_content_agree() -> None:
    torch.manual_seed(0)
    by_name = create_clip("clipmed-tiny")
    torch.manual_seed(0)
    by_content = create_clip(clip_config("clipmed-tiny"))
    for key, value in by_name.state_dict().items():
        assert torch.equal(value, by_content.state_dict()[key]), key


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_local_checkpoint_is_loaded(tmp_path: Path, suffix: str) -> None:
    source = create_clip("clipmed-tiny")
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in source.state_dict().items()}, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, path)
    loaded = create_clip(f"clipmed-tiny@{path}")
    assert torch.equal(loaded.visual.conv1.weight, source.visual.conv1.weight)


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    class Boom:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "ran").touch, ())

    path = tmp_path / "bad.pt"
    torch.save({"state_dict": Boom()}, path)
    with pytest.raises(ModelError, match="bad.pt"):
        create_clip(f"clipmed-tiny@{path}")
    assert not (tmp_path / "ran").exists()


def test_other_architecture_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "compact.safetensors"
    save_file({k: v.contiguous() for k, v in create_clip("clipmed-compact").state_dict().items()}, path)
    with pytest.raises(ModelError) as caught:
        create_clip(f"clipmed-tiny@{path}")
    assert len(caught.value.message) < 400


def test_unknown_name_and_unknown_weights() -> None:
    with pytest.raises(ModelError, match="no backbone"):
        create_clip("RN51")
    with pytest.raises(ModelError, match="could not be loaded"):
        create_clip("clipmed-tiny@nowhere")


def test_only_clips_resnet_is_accepted() -> None:
    config = clip_config("clipmed-tiny")
    config["vision_cfg"] = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
    with pytest.raises(ModelError, match="not CLIP's ResNet"):
        modified_resnet(create_clip(config))


def test_sentence_features_are_unit_and_frozen() -> None:
    model = create_clip("clipmed-tiny").train()
    features = sentence_features(model, tokenizer_for("clipmed-tiny"), ["moyamoya disease", "no disease"])
    assert features.shape == (2, 32)
    assert torch.allclose(features.norm(dim=-1), torch.ones(2), atol=1e-5)
    assert not features.requires_grad
    assert model.training
