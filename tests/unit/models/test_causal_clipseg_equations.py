"""Equations 1 to 4 of CausalCLIPSeg, each derived again in plain numpy from the paper's text.

Chen et al., CausalCLIPSeg, MICCAI 2024. Where paper and released code differ, ours follows the code and the
docstring says so. The printed objective (eq. 3) has no minimum: shown here, with what guards against it.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from random_networks import _one_thread_and_seed, randomise  # noqa: F401 - a fixture
from torch import nn

from napari_clipmed.models.causal_clipseg import CausalCLIPSeg, Masker, TextDecoder
from napari_clipmed.models.causal_clipseg_loss import ObjectiveConfig, adversarial_losses
from napari_clipmed.training.segmentation_config import read_config

Array = NDArray[np.float64]
CONFIG = {
    "clip": {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 64,
        },
        "text_cfg": {"context_length": 8, "vocab_size": 8, "width": 32, "heads": 1, "layers": 1},
    },
    "upsampling": [4, 4],
    "masker_channels": 8,
    "decoder_channels": 8,
    "words": ["left", "right"],
    "context_length": 8,
}  # fmt: skip


@pytest.fixture
def network() -> CausalCLIPSeg:
    return randomise(CausalCLIPSeg.from_config(CONFIG))


def numbers(x: torch.Tensor) -> Array:
    return x.detach().numpy().astype(np.float64)


def correlate(x: Array, kernel: Array, bias: Array) -> Array:
    """Cross-correlation of (C, h, w) with kernels (O, C, K, K), zeros outside: no kernel is turned round."""
    size = kernel.shape[-1]
    padded = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
    result = np.zeros((len(kernel), *x.shape[1:]))
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            window = padded[:, row : row + size, column : column + size]
            for o in range(len(kernel)):
                result[o, row, column] = (window * kernel[o]).sum() + bias[o]
    return result


def convolution(layer: nn.Conv2d, x: Array) -> Array:
    bias = numbers(layer.bias) if layer.bias is not None else np.zeros(layer.out_channels)
    return correlate(x, numbers(layer.weight), bias)


def norm(layer: nn.BatchNorm2d, x: Array) -> Array:
    mean, var, gain, shift = (
        numbers(value)[:, None, None]
        for value in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    return (x - mean) / np.sqrt(var + layer.eps) * gain + shift


def conv_norm_relu(block: nn.Sequential, x: Array) -> Array:
    return np.maximum(norm(block[1], convolution(block[0], x)), 0)


def upsampled(x: Array, factor: int) -> Array:
    """Bilinear; the middle of a new pixel says where it lies among the old ones."""

    def weights(old: int) -> Array:
        result = np.zeros((old * factor, old))
        for new in range(old * factor):
            place = max(0.0, (new + 0.5) / factor - 0.5)
            below = min(int(place), old - 1)
            above = min(below + 1, old - 1)
            result[new, below] += 1 - (place - below)
            result[new, above] += place - below
        return result

    return np.einsum("ah,bw,chw->cab", weights(x.shape[1]), weights(x.shape[2]), x)


def test_equation_1_the_sentence_is_the_kernel() -> None:
    """S = W_τ * up(F) + b_τ·1, D = C·K·K + 1.

    up, "by interpolation and convolution", as released: bilinear x4, 3x3, bilinear x4, 3x3, 1x1.
    """
    channels, text_width, hidden, kernel = 6, 5, 4, 3
    decoder = randomise(TextDecoder(channels, hidden, text_width, (4, 4), kernel))
    features, tau = torch.randn(2, channels, 2, 3), torch.randn(2, text_width)
    found = numbers(decoder(features, tau))
    assert found.shape == (2, 1, 32, 48)
    c = hidden // 2
    assert decoder.txt.out_features == c * kernel * kernel + 1
    vis = decoder.vis
    for i in range(2):
        up = conv_norm_relu(vis[1], upsampled(numbers(features[i]), 4))
        up = convolution(vis[4], conv_norm_relu(vis[3], upsampled(up, 4)))
        embedding = numbers(decoder.txt.weight) @ numbers(tau[i]) + numbers(decoder.txt.bias)
        w_tau, b_tau = embedding[:-1].reshape(1, c, kernel, kernel), embedding[-1:]
        np.testing.assert_allclose(found[i], correlate(up, w_tau, b_tau), atol=1e-5)


def with_places(x: Array) -> Array:
    """Two more channels: x and y from -1 to 1."""
    _, h, w = x.shape
    columns = np.array([[-1 + 2 * column / (w - 1) for column in range(w)] for _ in range(h)])
    rows = np.array([[-1 + 2 * row / (h - 1) for _ in range(w)] for row in range(h)])
    return np.concatenate([x, columns[None], rows[None]])


def mask_of(masker: Masker, x: Array) -> Array:
    """F of eq. 2 and its sigmoid.

    The paper cascades "a coordinate convolution and a convolution"; the released code, which ours follows,
    does that twice, with a batch norm before the sigmoid.
    """
    x = conv_norm_relu(masker[0], with_places(x))
    x = conv_norm_relu(masker[1], x)
    x = conv_norm_relu(masker[2], with_places(x))
    return 1 / (1 + np.exp(-norm(masker[4], convolution(masker[3], x))))


def test_equation_2_a_mask_and_its_complement(network: CausalCLIPSeg) -> None:
    """M = sigmoid(F(F_i)), M̄ = 1 - M, F^c = M ⊙ F_i, F^s = M̄ ⊙ F_i, for each scale; then one 1x1 for both.

    The paper masks the stages and brings them to one scale afterwards; the released code, which ours follows,
    does it the other way round. Masks are learned for each channel and place.
    """
    stages = network.stages(torch.randn(1, 3, 64, 96))
    aligned = network.neck.align(*stages)
    found = network.neck(*stages)
    parts: dict[str, list[Array]] = {"causal": [], "confounder": []}
    for feature, masker in zip(aligned, network.neck.maskers, strict=True):
        f = numbers(feature[0])
        m = mask_of(masker, f)
        assert m.shape == f.shape == (64, 4, 6)
        assert m.std(axis=0).max() > 0 and m.std(axis=(1, 2)).max() > 0
        np.testing.assert_allclose(numbers(masker(feature)[0]), m, atol=1e-5)
        parts["causal"].append(m * f)
        parts["confounder"].append((1 - m) * f)
        np.testing.assert_allclose(m * f + (1 - m) * f, f, atol=1e-12)
    for name, features in parts.items():
        fused = conv_norm_relu(network.neck.aggregate, np.concatenate(features))
        np.testing.assert_allclose(numbers(getattr(found, name)[0]), fused, atol=1e-4)


def cross_entropy(logits: Array, target: Array) -> float:
    """ℓ_ce of eq. 4 pixel by pixel; one logit a pixel, so it is the binary one."""
    total = 0.0
    for s, y in zip(logits.ravel(), target.ravel(), strict=True):
        p = 1 / (1 + math.exp(-s))
        total -= math.log(p) if y else math.log(1 - p)
    return total / logits.size


def batch(network: CausalCLIPSeg) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens = network.tokenize(["left", "right left"])
    return torch.randn(2, 3, 32, 32), tokens, (torch.rand(2, 1, 32, 32) > 0.7).float()


def test_equation_3_the_causal_loss_minus_the_confounding_one(network: CausalCLIPSeg) -> None:
    """L = L_c - λ L_s with λ = 0.05, on numbers of the two losses that are derived in eq. 4."""
    x, tokens, target = batch(network)
    causal, confounder = network(x, tokens)
    losses = adversarial_losses(network, x, tokens, target, ObjectiveConfig("paper", weight=0.05))
    l_c = cross_entropy(numbers(causal), numbers(target))
    l_s = cross_entropy(numbers(confounder), numbers(target))
    assert float(losses.total.detach()) == pytest.approx(l_c - 0.05 * l_s, rel=1e-5)


def test_equation_4_each_decoder_answers_from_its_own_features(network: CausalCLIPSeg) -> None:
    """L_c = ℓ_ce(D_c(τ, F^c), Y), L_s = ℓ_ce(D_s(τ, F^s), Y): "two separate yet identical decoders"."""
    x, tokens, target = batch(network)
    separated, tau = network.separate(x), network.encode_text(tokens)
    losses = adversarial_losses(network, x, tokens, target, ObjectiveConfig("paper"))
    for decoder, features, found in (
        (network.causal_decoder, separated.causal, losses.causal),
        (network.confounder_decoder, separated.confounder, losses.confounder),
    ):
        logits = numbers(decoder(features, tau))
        assert float(found.detach()) == pytest.approx(cross_entropy(logits, numbers(target)), rel=1e-5)
    ours, theirs = (
        {name: value.shape for name, value in d.state_dict().items()}
        for d in (network.causal_decoder, network.confounder_decoder)
    )
    assert ours == theirs, "identical"
    shared = {id(p) for p in network.causal_decoder.parameters()}
    assert not shared & {id(p) for p in network.confounder_decoder.parameters()}, "yet separate"


UNGUARDED = ObjectiveConfig("paper", weight=0.05, cap=math.inf)


def test_the_printed_minimum_of_equation_3_does_not_exist(network: CausalCLIPSeg) -> None:
    """Turning one number, the bias b_τ of D_s, takes L below any bound, without touching the answer S.

    D_s enters the printed loss with a minus sign only and is one of its variables ("we optimize the entire
    model by ... minimizing L"), so it is paid for being wrong, and it can be as wrong as it likes.
    """
    x, tokens, target = batch(network)
    totals, causal = [], []
    for bias in (1e2, 1e3, 1e4, 1e5):
        with torch.no_grad():
            network.confounder_decoder.txt.bias[-1] = bias
        losses = adversarial_losses(network, x, tokens, target, UNGUARDED)
        totals.append(float(losses.total.detach()))
        causal.append(float(losses.causal.detach()))
    background = 1 - float(target.mean())
    for bias, total in zip((1e2, 1e3, 1e4, 1e5), totals, strict=True):
        assert total == pytest.approx(-0.05 * bias * background, rel=0.2)
    assert max(causal) - min(causal) == 0.0, "nothing was learned meanwhile"


def play(network: CausalCLIPSeg, config: ObjectiveConfig, steps: int = 40) -> list[float]:
    """L_s under a fast optimiser, step by step."""
    x, tokens, target = batch(network)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    found = []
    for _ in range(steps):
        losses = adversarial_losses(network, x, tokens, target, config)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        found.append(float(losses.confounder.detach()))
    return found


def test_an_optimiser_falls_into_it_and_the_guards_hold() -> None:
    """Unguarded L_s runs away; the cap of ``paper`` ends that, and ``grl`` plays the game that is meant."""
    runs = {}
    for name, config in (
        ("printed", UNGUARDED),
        ("capped", ObjectiveConfig("paper", cap=4.0)),
        ("reversed", ObjectiveConfig("grl")),
    ):
        torch.manual_seed(0)
        runs[name] = play(CausalCLIPSeg.from_config(CONFIG).train(), config)
    assert runs["printed"][-1] > 100 and runs["printed"][-1] > 5 * runs["printed"][len(runs["printed"]) // 2]
    assert runs["capped"][-1] < 0.5 * runs["printed"][-1]
    assert runs["reversed"][-1] < runs["reversed"][0], "D_s learns to answer"
    assert max(runs["reversed"]) < 4


def test_beyond_the_cap_nothing_is_gained(network: CausalCLIPSeg) -> None:
    x, tokens, target = batch(network)
    with torch.no_grad():
        network.confounder_decoder.txt.bias[-1] = 1e3  # sure and wrong
    losses = adversarial_losses(network, x, tokens, target, ObjectiveConfig("paper", cap=4.0))
    assert float(losses.confounder.detach()) > 100
    assert float(losses.total.detach()) == pytest.approx(float(losses.causal.detach()) - 0.05 * 4.0, rel=1e-5)
    losses.total.backward()
    assert all(float(p.grad.abs().max()) == 0 for p in network.confounder_decoder.parameters())


def test_the_recipe_of_the_paper_is_guarded() -> None:
    """λ and the sign are the paper's; the bound is ours, and is said to be."""
    objective = read_config("causal_clipseg_paper").objective
    assert (objective.adversary, objective.weight, objective.dice) == ("paper", 0.05, 0.0)
    assert objective.cap == 4.0
