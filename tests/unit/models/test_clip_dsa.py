"""The network of CLIP-DSA: against open_clip's layers, and what it does with views, labels and sentences.

The paper's equations are in `test_clip_dsa_equations`.
"""

from __future__ import annotations

import math

import pytest
import torch

from napari_clipmed.errors import ModelError
from napari_clipmed.models.backbones import clip_config, count_parameters, create_clip
from napari_clipmed.models.clip_dsa import ClipDSA, pool_by_mean_token
from napari_clipmed.models.labels import LabelSet

B, T, S = 2, 3, 64


@pytest.fixture(scope="module")
def network() -> ClipDSA:
    torch.manual_seed(0)
    network = ClipDSA("clipmed-tiny").eval()
    network.set_label_set(LabelSet.named("dsa"))
    return network


@pytest.fixture(scope="module")
def views() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(B, T, 3, S, S), torch.rand(B, T, 3, S, S)


@pytest.mark.parametrize("name", ["clipmed-tiny", "clipmed-compact"])
def test_query_only_attention_pool_equals_open_clips(name: str) -> None:
    torch.manual_seed(3)
    pool = create_clip(name).visual.attnpool.eval()
    side = math.isqrt(len(pool.positional_embedding) - 1)
    maps = torch.randn(4, pool.k_proj.in_features, side, side)
    assert (pool_by_mean_token(pool, maps) - pool(maps)).abs().max() < 1e-6


def test_cached_maps_give_the_same_answer(network: ClipDSA, views: tuple[torch.Tensor, torch.Tensor]) -> None:
    with torch.no_grad():
        direct = network(*views)
        maps = [network.trunk(v.flatten(0, 1)).unflatten(0, (B, T)) for v in views]
        cached = network.forward_maps(*maps)
    for name in ("v_ap", "v_la", "v_mv", "attention_ap", "attention_la"):
        assert torch.equal(getattr(direct, name), getattr(cached, name)), name
    assert direct.attention_ap.shape == (B, T)
    assert network.logits(direct.v_mv, "mv").shape == (B, 5)


def test_one_view_answers_alone(network: ClipDSA, views: tuple[torch.Tensor, torch.Tensor]) -> None:
    with torch.no_grad():
        both, only = network(*views), network(None, views[1])
    assert only.v_ap is None and only.v_mv is None and only.attention_ap is None
    assert torch.allclose(only.v_la, both.v_la, atol=1e-6)
    with pytest.raises(ValueError, match="at least one view"):
        network(None, None)


def test_logits_are_cosines_over_epsilon(network: ClipDSA) -> None:
    v = torch.randn(2, 32)
    cosine = torch.nn.functional.cosine_similarity(v[:, None], network.text_features[None], dim=-1)
    epsilon = 0.07  # the initial value
    assert torch.allclose(network.logits(v, "mv"), cosine / epsilon, atol=1e-4)


def test_temperature_is_bounded(network: ClipDSA) -> None:
    fresh = ClipDSA("clipmed-tiny")
    with torch.no_grad():
        fresh.logit_scales["mc"].fill_(50.0)
    assert float(fresh.scale("mc")) == pytest.approx(100.0)


def test_text_tower_is_frozen_and_everything_else_learns() -> None:
    network = ClipDSA("clipmed-tiny")
    assert not any(p.requires_grad for p in network.clip.parameters())
    rest = [p for n, p in network.named_parameters() if not n.startswith("clip.")]
    assert rest and all(p.requires_grad for p in rest)


def test_tpm_is_shared_unless_asked() -> None:
    shared, apart = ClipDSA("clipmed-tiny"), ClipDSA("clipmed-tiny", share_tpm=False)
    assert shared.tpm_ap is shared.tpm_la
    assert count_parameters(apart) - count_parameters(shared) == 3 * (32 * 32 + 32)


def test_rebuilt_from_its_config_it_holds_the_same_state(network: ClipDSA) -> None:
    again = ClipDSA.from_config(network.config)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.text_features, network.text_features)


def test_editing_a_sentence_moves_only_that_prototype(network: ClipDSA) -> None:
    labels = LabelSet.named("dsa")
    content = labels.model_dump()
    content["labels"][1]["sentences"] = ["puff of smoke", "moyamoya disease"]
    edited = ClipDSA.from_config(network.config)
    edited.load_state_dict(network.state_dict())
    bank = edited.set_label_set(LabelSet.from_content(content))
    moved = (edited.text_features - network.text_features).norm(dim=1)
    assert moved[1] > 0.01 and moved[[0, 2, 3, 4]].max() < 1e-5
    mean = bank[1].mean(dim=0)
    assert torch.allclose(edited.text_features[1], mean / mean.norm(), atol=1e-6)


def test_a_label_set_says_what_is_wrong_with_it() -> None:
    content = LabelSet.named("dsa").model_dump()
    content["labels"][1]["key"] = "Control"
    with pytest.raises(ModelError, match="same key"):
        LabelSet.from_content(content)
    with pytest.raises(ModelError, match="no label 'X'"):
        LabelSet.named("dsa").index("X")
    with pytest.raises(ModelError, match="no label set called"):
        LabelSet.named("nothing")


def test_another_image_tower_is_refused() -> None:
    config = clip_config("clipmed-tiny")
    config["vision_cfg"] = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
    with pytest.raises(ModelError, match="not CLIP's ResNet"):
        ClipDSA(config)
