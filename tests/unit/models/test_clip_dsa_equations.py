"""Equations 1 to 8 of CLIP-DSA, each derived again in plain loops from the paper's text.

Xie et al., CLIP-DSA, MICCAI 2025. Where what is printed cannot be meant, the test shows both readings.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from clip_reference import RN50, RN101, image_shapes, image_stages, mean_pool, parameters, text_shapes
from clip_reference import sentence_state as text_tower
from numpy.typing import NDArray

from napari_clipmed.models.backbones import count_parameters, tokenizer_for
from napari_clipmed.models.clip_dsa import ClipDSA, ClipDSAOutput, TemporalPooling
from napari_clipmed.models.clip_dsa_loss import ClipDSALoss, contrastive_loss, similarities
from napari_clipmed.models.labels import LabelSet

Array = NDArray[np.float64]
STUDIES, FRAMES, SIDE, WIDTH = 3, 4, 64, 32
LABELS = [2, 0, 2]


def numbers(x: torch.Tensor) -> Array:
    return x.detach().numpy().astype(np.float64)


def affine(layer: torch.nn.Linear, x: Array) -> Array:
    """W x + b, one product after the other."""
    weight, bias = numbers(layer.weight), numbers(layer.bias)
    result = np.zeros(len(bias))
    for i in range(len(bias)):
        result[i] = bias[i]
        for j in range(len(x)):
            result[i] += weight[i, j] * x[j]
    return result


@pytest.fixture(scope="module")
def network() -> ClipDSA:
    torch.manual_seed(0)
    network = ClipDSA("clipmed-tiny").eval()
    for name, value in network.visual.named_buffers():  # so that no norm is hidden by a zero or a one
        if name.endswith("running_mean"):
            value.normal_(std=0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    network.set_label_set(LabelSet.named("dsa"))
    return network


@pytest.fixture(scope="module")
def views() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(STUDIES, FRAMES, 3, SIDE, SIDE), torch.randn(STUDIES, FRAMES, 3, SIDE, SIDE)


def test_equation_1_every_frame_is_encoded_alone_by_one_tower_for_both_views(
    network: ClipDSA, views: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """S = Φ_v(S), N = b·t: frame j of study i is row i·t + j; Φ_v is CLIP's ResNet, here in plain torch.

    "A dual-branch image encoder with shared weights" (section 3.2): the same Φ_v for both views.
    """
    state = dict(network.state_dict())
    with torch.no_grad():
        output = network(*views)
        for found, view in ((output.frames_ap, views[0]), (output.frames_la, views[1])):
            assert found.shape == (STUDIES, FRAMES, WIDTH)
            rows = found.reshape(STUDIES * FRAMES, WIDTH)  # the N x d of the paper
            for i in range(STUDIES):
                for j in range(FRAMES):
                    alone = mean_pool(state, image_stages(state, view[i, j][None])[-1])[0]
                    torch.testing.assert_close(rows[i * FRAMES + j], alone, atol=1e-5, rtol=1e-5)


def test_equation_2_sentences_are_read_by_a_frozen_tower(network: ClipDSA) -> None:
    """T = Φ_t(T): the text tower at the end token, here in plain torch; no gradient ever reaches it.

    The paper keeps the product's length open; ours is normalised, which the cosine of eq. 6 would do anyway.
    """
    sentences = ["moyamoya disease", "an intracranial aneurysm", "no cerebrovascular disease."]
    state = {key.removeprefix("clip."): value for key, value in network.state_dict().items()}
    tokens = tokenizer_for("clipmed-tiny")(sentences)
    expected = text_tower(state, tokens, heads=2)
    expected = expected / expected.square().sum(1, keepdim=True).sqrt()
    found = network.read_sentences(sentences)
    assert found.shape == (3, WIDTH)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert not any(parameter.requires_grad for parameter in network.clip.parameters())
    assert not found.requires_grad


@pytest.fixture
def pooling() -> tuple[TemporalPooling, torch.Tensor]:
    torch.manual_seed(2)
    return TemporalPooling(6), torch.randn(STUDIES, FRAMES, 6)


def averages(features: Array) -> Array:
    """Eq. 3 in loops."""
    b, t, d = features.shape
    result = np.zeros((b, d))
    for i in range(b):
        for j in range(t):
            for k in range(d):
                result[i, k] += features[i, j, k] / t
    return result


def test_equation_3_the_average_over_time(pooling: tuple[TemporalPooling, torch.Tensor]) -> None:
    """S_avg = AvgPool(S): what is left of the module when its values are zero (the last term of eq. 5)."""
    module, features = pooling
    torch.nn.init.zeros_(module.value.weight)
    torch.nn.init.zeros_(module.value.bias)
    enhanced, _ = module(features)
    np.testing.assert_allclose(numbers(enhanced), averages(numbers(features)), atol=1e-6)


def test_equation_4_three_linear_layers_ask_and_answer(
    pooling: tuple[TemporalPooling, torch.Tensor],
) -> None:
    """f_q = W(S_avg), f_k = W(S), f_v = W(S).

    One letter W stands for three layers: the text has "a linear layer" for the query and "two different
    linear layers" for the others. With a single W, key and value would be the same numbers.
    """
    module, features = pooling
    seen: dict[str, Array] = {}
    for name, layer in module.named_children():
        layer.register_forward_hook(lambda _, __, y, name=name: seen.update({name: numbers(y)}))
    module(features)
    plain = numbers(features)
    average = averages(plain)
    for i in range(STUDIES):
        np.testing.assert_allclose(seen["query"][i], affine(module.query, average[i]), atol=1e-6)
        for j in range(FRAMES):
            np.testing.assert_allclose(seen["key"][i, j], affine(module.key, plain[i, j]), atol=1e-6)
            np.testing.assert_allclose(seen["value"][i, j], affine(module.value, plain[i, j]), atol=1e-6)
    assert np.abs(seen["key"] - seen["value"]).max() > 0.1
    assert count_parameters(module) == 3 * (6 * 6 + 6)


def test_equation_5_attention_over_frames_plus_the_average(
    pooling: tuple[TemporalPooling, torch.Tensor],
) -> None:
    """S_en = Softmax(f_q f_kᵀ / √d) f_v + S_avg, the softmax running over the frames."""
    module, features = pooling
    with torch.no_grad():
        enhanced, weights = module(features)
    plain = numbers(features)
    average, d = averages(plain), plain.shape[-1]
    for i in range(STUDIES):
        query = affine(module.query, average[i])
        scores = []
        for j in range(FRAMES):
            key = affine(module.key, plain[i, j])
            scores.append(sum(query[k] * key[k] for k in range(d)) / math.sqrt(d))
        total = sum(math.exp(score) for score in scores)
        expected = average[i].copy()
        for j in range(FRAMES):
            weight = math.exp(scores[j]) / total
            assert float(weights[i, j]) == pytest.approx(weight, abs=1e-6)
            expected += weight * affine(module.value, plain[i, j])
        np.testing.assert_allclose(numbers(enhanced[i]), expected, atol=1e-5)


def test_section_2_3_three_heads_read_the_pooled_views(
    network: ClipDSA, views: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Concatenation AP before LA, and a linear layer for each of the three features: the V of eq. 6."""
    with torch.no_grad():
        output = network(*views)
        pooled = [network.pool_time(f)[0] for f in (output.frames_ap, output.frames_la)]
    ap, la = (numbers(p) for p in pooled)
    for i in range(STUDIES):
        np.testing.assert_allclose(numbers(output.v_ap[i]), affine(network.head_ap, ap[i]), atol=1e-5)
        np.testing.assert_allclose(numbers(output.v_la[i]), affine(network.head_la, la[i]), atol=1e-5)
        both = affine(network.head_mv, np.concatenate([ap[i], la[i]]))
        np.testing.assert_allclose(numbers(output.v_mv[i]), both, atol=1e-5)


def cosines_over(epsilon: float, a: Array, b: Array) -> Array:
    """Eq. 6 in loops, with the cosine that the text names."""
    result = np.zeros((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            dot = sum(a[i, k] * b[j, k] for k in range(a.shape[1]))
            lengths = math.sqrt(sum(x * x for x in a[i])) * math.sqrt(sum(x * x for x in b[j]))
            result[i, j] = dot / lengths / epsilon
    return result


def test_equation_6_cosines_divided_by_a_learnable_number() -> None:
    """SIM_v2t = V Tᵀ / ε, SIM_t2v = SIM_v2tᵀ.

    Printed without a norm, but "the cosine similarity matrix is calculated": ours does not change with the
    length of the features, the printed product does.
    """
    torch.manual_seed(3)
    v, text = 3 * torch.randn(4, 6), torch.randn(4, 6)
    found = similarities(v, text, 1 / 0.07)
    np.testing.assert_allclose(numbers(found), cosines_over(0.07, numbers(v), numbers(text)), rtol=1e-5)
    np.testing.assert_allclose(numbers(similarities(text, v, 1 / 0.07)), numbers(found).T, rtol=1e-5)
    assert torch.allclose(similarities(10 * v, text, 1 / 0.07), found, atol=1e-4)
    assert not torch.allclose(v @ text.T / 0.07, found, atol=1.0)


def cross_entropy(similarity: Array, y: Array) -> float:
    """CE(SIM, Y): minus the log of the share of the right column, averaged over the rows."""
    total = 0.0
    for i in range(len(similarity)):
        shares = [math.exp(x) for x in similarity[i]]
        for j in range(len(shares)):
            total -= y[i, j] * math.log(shares[j] / sum(shares))
    return total / len(similarity)


def equation_7(epsilon: float, a: Array, b: Array) -> float:
    """Both directions, Y one-hot."""
    similarity, y = cosines_over(epsilon, a, b), np.eye(len(a))
    return (cross_entropy(similarity, y) + cross_entropy(similarity.T, y)) / 2


def test_equation_7_both_directions_count() -> None:
    """L = (CE(SIM_v2t, Y) + CE(SIM_t2v, Y)) / 2.

    The paper prints SIM_v2t twice, which leaves SIM_t2v of eq. 6 without use and is one direction only:
    another number, and not "following CLIP".
    """
    torch.manual_seed(4)
    v, text = torch.randn(4, 6), torch.randn(4, 6)
    found = float(contrastive_loss(v, text, 1 / 0.2, torch.eye(4)))
    assert found == pytest.approx(equation_7(0.2, numbers(v), numbers(text)), rel=1e-5)
    literal = cross_entropy(cosines_over(0.2, numbers(v), numbers(text)), np.eye(4))
    assert abs(found - literal) > 0.01


def test_equation_8_the_mean_of_four_losses_each_with_its_own_epsilon() -> None:
    """L_total = (L_ap + L_la + L_mv + L_mc) / 4; L_mc compares V_ap with V_la, after the linear layers."""
    torch.manual_seed(5)
    network = ClipDSA("clipmed-tiny")
    network.set_label_set(LabelSet.named("dsa"))
    ap, la, mv = (torch.randn(STUDIES, WIDTH) for _ in range(3))
    epsilons = {"ap": 0.5, "la": 0.3, "mv": 0.2, "mc": 0.1}
    with torch.no_grad():
        for name, epsilon in epsilons.items():
            network.logit_scales[name].fill_(math.log(1 / epsilon))
    labels = torch.tensor(LABELS)
    losses = ClipDSALoss()(network, ClipDSAOutput(ap, la, mv, None, None), labels)
    text = numbers(network.text_features)[LABELS]  # the batch's sentences, (b, d)
    expected = {
        "ap": equation_7(0.5, numbers(ap), text),
        "la": equation_7(0.3, numbers(la), text),
        "mv": equation_7(0.2, numbers(mv), text),
        "mc": equation_7(0.1, numbers(ap), numbers(la)),
    }
    for name, value in expected.items():
        assert float(losses[name].detach()) == pytest.approx(value, rel=1e-4), name
    assert float(losses["total"].detach()) == pytest.approx(sum(expected.values()) / 4, rel=1e-4)
    losses["total"].backward()
    assert all(float(network.logit_scales[name].grad) != 0 for name in epsilons)


@pytest.mark.parametrize(("name", "size"), [("RN50-quickgelu", RN50), ("RN101-quickgelu", RN101)])
def test_sizes_of_the_published_towers_to_the_last_parameter(name: str, size) -> None:
    """On torch's device without numbers; the layouts are those of OpenAI's checkpoints."""
    with torch.device("meta"):
        network = ClipDSA(name, load_weights=False)
    assert count_parameters(network.visual) == parameters(image_shapes(size))
    assert count_parameters(network.clip) == parameters(text_shapes(size))
    d = size.embed
    assert count_parameters(network.tpm_ap) == 3 * (d * d + d)
    heads = (network.head_ap, network.head_la, network.head_mv)
    assert sum(map(count_parameters, heads)) == 2 * (d * d + d) + 2 * d * d + d
    expected = {
        name: tuple(value.shape) for name, value in network.visual.state_dict(prefix="visual.").items()
    }
    assert expected == image_shapes(size)


def test_rn50_has_the_figures_and_shapes_of_the_specification() -> None:
    """Section 1.1: 38.32 M, 63.69 M frozen, 3.15 M, 4.20 M; 16 studies of 16 frames at 224 px."""
    with torch.device("meta"):
        network = ClipDSA("RN50-quickgelu", load_weights=False).eval()
    heads = (network.head_ap, network.head_la, network.head_mv)
    parts = (
        count_parameters(network.visual),
        count_parameters(network.clip),
        count_parameters(network.tpm_ap),
    )
    assert [round(n / 1e6, 2) for n in (*parts, sum(map(count_parameters, heads)))] == [
        38.32,
        63.69,
        3.15,
        4.20,
    ]
    frames = torch.zeros(16 * 16, 3, 224, 224, device="meta")
    visual, shapes = network.visual, []
    for step in (visual.stem, visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        frames = step(frames)
        shapes.append(tuple(frames.shape))
    assert shapes == [
        (256, 64, 56, 56), (256, 256, 56, 56), (256, 512, 28, 28), (256, 1024, 14, 14), (256, 2048, 7, 7),
    ]  # fmt: skip
    output = network(*(torch.zeros(16, 16, 3, 224, 224, device="meta") for _ in range(2)))
    assert output.frames_ap.shape == output.frames_la.shape == (16, 16, 1024)
    assert output.v_ap.shape == output.v_la.shape == output.v_mv.shape == (16, 1024)
    assert output.attention_ap.shape == (16, 16)
    assert network.logits(output.v_mv, "mv").shape == (16, 5)
    pool = visual.attnpool
    assert pool.positional_embedding.shape == (50, 2048) and pool.num_heads == 32
