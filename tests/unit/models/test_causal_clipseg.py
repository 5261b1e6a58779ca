"""CausalCLIPSeg: its parts against naive versions, its sizes and its cached image.

The paper's equations are in `test_causal_clipseg_equations`.
"""

from __future__ import annotations

import pytest
import torch
from random_networks import _one_thread_and_seed, randomise  # noqa: F401 - a fixture
from torch.nn import functional as F

from napari_clipmed.models.backbones import count_parameters
from napari_clipmed.models.carafe import Carafe
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg, TextDecoder, dense_attention_pool
from napari_clipmed.models.causal_clipseg_loss import (
    ObjectiveConfig,
    adversarial_losses,
    reverse_gradient,
    segmentation_loss,
    soft_dice_loss,
)

TINY = {
    "clip": {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 64,
            "layers": [1, 1, 1, 1],
            "width": 8,
            "patch_size": None,
            "head_width": 64,
        },
        "text_cfg": {"context_length": 16, "vocab_size": 12, "width": 32, "heads": 2, "layers": 1},
    },
    "upsampling": [2, 2],
    "masker_channels": 16,
    "decoder_channels": 16,
    "words": ["left", "right", "lower", "lung"],
    "context_length": 16,
}


@pytest.fixture
def tiny() -> CausalCLIPSeg:
    return randomise(CausalCLIPSeg.from_config(TINY))


def test_the_compact_decoder_is_equation_1_at_a_quarter_of_the_resolution():
    decoder = randomise(TextDecoder(8, 8, 5, (2, 2)))
    features, tau = torch.randn(3, 8, 4, 4), torch.randn(3, 5)
    up, parameters = decoder.vis(features), decoder.txt(tau)
    expected = torch.cat(
        [
            F.conv2d(up[i : i + 1], parameters[i, :-1].reshape(1, 4, 3, 3), parameters[i, -1:], padding=1)
            for i in range(3)
        ]
    )
    expected = F.interpolate(expected, scale_factor=4, mode="bilinear")
    torch.testing.assert_close(decoder(features, tau), expected, atol=1e-5, rtol=1e-4)


def losses_of(network: CausalCLIPSeg, **objective):
    x = torch.randn(2, 3, 64, 64)
    tokens = network.tokenize(["lower left lung", "right lung"])
    target = (torch.rand(2, 1, 64, 64) > 0.7).float()
    return x, tokens, target, adversarial_losses(network, x, tokens, target, ObjectiveConfig(**objective))


def test_reversal_turns_the_gradient_only():
    x = torch.tensor([2.0, -1.0], requires_grad=True)
    y = reverse_gradient(x, 0.05)
    assert torch.equal(y, x)
    (y * torch.tensor([3.0, 5.0])).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([-0.15, -0.25]))


def test_grl_trains_the_confounder_decoder_down_and_the_rest_up(tiny):
    """D_s gets the gradient of L_s; what lies before it gets that of L_c - λ L_s."""
    x, tokens, target, losses = losses_of(tiny, adversary="grl", weight=0.05)
    inner = tiny.neck.aggregate[0].weight
    outer = tiny.confounder_decoder.txt.weight
    found = torch.autograd.grad(losses.total, [inner, outer])
    causal, confounder = (F.binary_cross_entropy_with_logits(y, target) for y in tiny(x, tokens))
    expected_inner = torch.autograd.grad(causal - 0.05 * confounder, [inner], retain_graph=True)[0]
    expected_outer = torch.autograd.grad(confounder, [outer])[0]
    torch.testing.assert_close(found[0], expected_inner, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(found[1], expected_outer)


def test_without_adversary_the_confounder_branch_is_left_alone(tiny):
    *_, losses = losses_of(tiny, adversary="off")
    losses.total.backward()
    assert all(p.grad is None for p in tiny.confounder_decoder.parameters())


def test_unknown_adversary_is_refused():
    with pytest.raises(ValueError, match="grl, paper or off"):
        ObjectiveConfig(adversary="min")


def test_soft_dice_of_hand_values():
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    logits = torch.tensor([[[[40.0, -40.0], [40.0, -40.0]]]])
    torch.testing.assert_close(soft_dice_loss(logits, target), torch.tensor(1 - 3 / 5))
    with_dice = segmentation_loss(logits, target, dice=0.5)
    torch.testing.assert_close(with_dice, segmentation_loss(logits, target) + 0.2)


def test_carafe_equals_a_naive_loop():
    carafe = Carafe(8)
    x = torch.randn(2, 8, 3, 5)
    kernels = F.pixel_shuffle(carafe.encoder(carafe.down(x)), 2).softmax(1)
    padded = F.pad(x, (1, 1, 1, 1))
    up = torch.zeros(2, 8, 6, 10)
    for row in range(6):
        for column in range(10):
            window = padded[:, :, row // 2 : row // 2 + 3, column // 2 : column // 2 + 3].flatten(2)
            up[:, :, row, column] = torch.einsum("bck,bk->bc", window, kernels[:, :, row, column])
    torch.testing.assert_close(carafe(x), carafe.out(up), atol=1e-5, rtol=1e-4)


def test_dense_pool_is_attention_of_every_place_over_all(tiny):
    pool = tiny.backbone.visual.attnpool
    x = torch.randn(2, 256, 2, 2)
    tokens = (x.flatten(2).permute(2, 0, 1) + pool.positional_embedding[1:, None]).detach()
    expected, _ = F.multi_head_attention_forward(
        query=tokens,
        key=tokens,
        value=tokens,
        embed_dim_to_check=256,
        num_heads=pool.num_heads,
        q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
        in_proj_weight=None,
        in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=pool.c_proj.weight,
        out_proj_bias=pool.c_proj.bias,
        use_separate_proj_weight=True,
        training=False,
        need_weights=False,
    )
    expected = F.relu(expected.permute(1, 2, 0).reshape(2, 64, 2, 2) + tiny.connect(x))
    torch.testing.assert_close(dense_attention_pool(pool, tiny.connect, x), expected, atol=1e-5, rtol=1e-4)


def test_cached_image_gives_the_full_answer_for_every_sentence(tiny):
    x = torch.randn(1, 3, 64, 64)
    sentences = ["lower left lung", "right lung", "something else"]
    tokens = tiny.tokenize(sentences)
    with torch.no_grad():
        cached = tiny.encode_image(x)
        together = tiny.decode(cached, tiny.encode_text(tokens))
        for index in range(3):
            causal, _ = tiny(x, tokens[index : index + 1])
            torch.testing.assert_close(together[index : index + 1], causal, atol=1e-5, rtol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-4, "the sentence must matter"


def test_other_input_sizes_work(tiny):
    causal, confounder = tiny(torch.randn(1, 3, 96, 128), tiny.tokenize(["left lung"]))
    assert causal.shape == confounder.shape == (1, 1, 96, 128)


def test_config_rebuilds_the_same_network(tiny):
    again = CausalCLIPSeg.from_config(tiny.config)
    again.load_state_dict(tiny.state_dict())
    again.eval()
    x, tokens = torch.randn(1, 3, 64, 64), tiny.tokenize(["lower left lung"])
    torch.testing.assert_close(again(x, tokens)[0], tiny(x, tokens)[0])
    assert again.config == tiny.config


def test_a_backbone_of_unequal_widths_is_refused():
    unequal = {**TINY, "clip": {**TINY["clip"], "embed_dim": 32}}
    with pytest.raises(ValueError, match="64 channels and the embedding 32"):
        CausalCLIPSeg.from_config(unequal)


def test_tokens_are_cut_but_end(tiny):
    tokens = tiny.tokenize(["left " * 500, "", "Left LUNG"])
    end = len(tiny.vocabulary) - 1
    assert tokens.shape == (3, 16)
    assert tokens[0, -1] == end and tokens[1, 1] == end
    assert tokens[2].tolist()[1:4] == [3, 6, end]


def test_size_of_the_compact_network():
    assert count_parameters(CausalCLIPSeg.from_config(TINY)) < 1e6


@pytest.mark.parametrize("context", [16, 12])
def test_the_text_tower_over_the_sentence_only_is_open_clips_over_its_whole_context(tiny, context):
    tokens = tiny.tokenize(["lower left lung", "right", "left left left right right right lung"])[:, :context]
    whole = tiny.backbone.encode_text(F.pad(tokens, (0, 16 - tokens.shape[1])))
    assert (tiny.encode_text(tokens) - whole).abs().max() < 1e-5 * whole.abs().max()


def test_a_text_tower_that_reads_elsewhere_is_left_to_open_clip(tiny, monkeypatch):
    tokens = tiny.tokenize(["lower left lung"])
    monkeypatch.setattr(tiny.backbone, "text_pool_type", "last")
    assert torch.equal(tiny.encode_text(tokens), tiny.backbone.encode_text(tokens))
