"""Features of each place, derived again by hand for every kind of tower."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))
from small_clips import small_clip

from napari_clipmed.errors import ModelError
from napari_clipmed.models.dense import dense_features

TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}
TIMM = {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear", "image_size": 160}


def clip_of(vision: dict[str, object]) -> nn.Module:
    return small_clip({"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT})


def test_one_place_of_a_resnet_is_what_pooling_gives_when_all_look_there() -> None:
    visual = small_clip().visual
    pool = visual.attnpool
    nn.init.zeros_(pool.positional_embedding)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        places = dense_features(visual, images)
        maps = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(images)))))
        for row, column in ((0, 0), (1, 0), (1, 1)):
            only = maps[:, :, row, column, None, None].expand_as(maps).contiguous()
            assert torch.allclose(places[:, row, column], pool(only), atol=1e-5)
    assert places.shape == (2, 2, 2, 32)


def by_hand(
    x: Tensor, norm: nn.Module, v: Tensor, bias: Tensor, out: nn.Linear, mlp: nn.Module, norm2: nn.Module
) -> Tensor:
    """The last block where each token attends to itself alone."""
    x = x + out(F.linear(norm(x), v, bias))
    return x + mlp(norm2(x))


def test_a_vision_transformer_passes_its_own_values() -> None:
    visual = clip_of(VIT).visual
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = visual(images)
        places = dense_features(visual, images)
        first, last = visual.transformer.resblocks
        tokens = first(visual._embeds(images))
        v, bias = last.attn.in_proj_weight[-64:], last.attn.in_proj_bias[-64:]
        tokens = by_hand(tokens, last.ln_1, v, bias, last.attn.out_proj, last.mlp, last.ln_2)
        wanted = (visual.ln_post(tokens) @ visual.proj)[:, 1:].unflatten(1, (4, 4))
        assert torch.allclose(places, wanted, atol=1e-5)
        assert torch.equal(visual(images), before), "the tower is left as it was"


def test_a_tower_of_timm_passes_its_own_values() -> None:
    visual = clip_of(TIMM).visual
    images = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        places = dense_features(visual, images)
        trunk = visual.trunk
        tokens = trunk._pos_embed(trunk.patch_embed(images))
        for block in trunk.blocks[:-1]:
            tokens = block(tokens)
        last = trunk.blocks[-1]
        width = tokens.shape[-1]
        v, bias = last.attn.qkv.weight[-width:], last.attn.qkv.bias[-width:]
        tokens = tokens + last.ls1(last.attn.proj(F.linear(last.norm1(tokens), v, bias)))
        tokens = tokens + last.ls2(last.mlp(last.norm2(tokens)))
        wanted = visual.head(trunk.norm(tokens))[:, 1:].unflatten(1, places.shape[1:3])
    assert torch.allclose(places, wanted, atol=1e-4)


def test_another_tower_is_refused_in_a_sentence() -> None:
    with pytest.raises(ModelError, match="not known for a Linear"):
        dense_features(nn.Linear(2, 2), torch.zeros(1, 3, 8, 8))
