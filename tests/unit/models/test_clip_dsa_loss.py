"""Equations 6 to 8, derived again line by line, and what the choice of targets changes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from napari_clipmed.models.clip_dsa import ClipDSA, ClipDSAOutput
from napari_clipmed.models.clip_dsa_loss import (
    ClipDSALoss,
    contrastive_loss,
    one_hot_floor,
    pair_targets,
)
from napari_clipmed.models.labels import LabelSet

LABELS = torch.tensor([0, 1, 1, 2, 2, 2, 3, 4])
N, D = len(LABELS), 32


@pytest.fixture(scope="module")
def network() -> ClipDSA:
    torch.manual_seed(0)
    network = ClipDSA("clipmed-tiny")
    network.set_label_set(LabelSet.named("dsa"))
    return network


def features(seed: int = 1) -> Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(seed))


def output(seed: int = 1) -> ClipDSAOutput:
    ap, la, mv = (features(seed + k).requires_grad_() for k in range(3))
    return ClipDSAOutput(ap, la, mv, None, None)


def by_hand(a: Tensor, b: Tensor, epsilon: float, y: Tensor) -> float:
    """Equations 6 and 7 with loops."""
    sim = [[float(a[i] @ b[j] / (a[i].norm() * b[j].norm())) / epsilon for j in range(N)] for i in range(N)]

    def ce(rows: list[list[float]], targets: Tensor) -> float:
        total = 0.0
        for row, target in zip(rows, targets, strict=True):
            log_sum = math.log(sum(math.exp(x) for x in row))
            total -= sum(float(t) * (x - log_sum) for x, t in zip(row, target, strict=True))
        return total / N

    transposed = [[sim[i][j] for i in range(N)] for j in range(N)]
    return (ce(sim, y) + ce(transposed, y)) / 2


def test_contrastive_loss_is_equations_6_and_7() -> None:
    a, b = features(1), features(2)
    ours = contrastive_loss(a, b, 1 / 0.07, torch.eye(N))
    assert float(ours) == pytest.approx(by_hand(a, b, 0.07, torch.eye(N)), rel=1e-5)


def test_total_is_the_mean_of_four_losses_with_their_own_epsilon(network: ClipDSA) -> None:
    with torch.no_grad():
        for k, name in enumerate(("ap", "la", "mv", "mc")):
            network.logit_scales[name].fill_(math.log(2.0 + k))
    out = output()
    text = network.text_features[LABELS]
    losses = ClipDSALoss()(network, out, LABELS)
    eye = torch.eye(N)
    expected = {
        "ap": by_hand(out.v_ap, text, 1 / 2, eye),
        "la": by_hand(out.v_la, text, 1 / 3, eye),
        "mv": by_hand(out.v_mv, text, 1 / 4, eye),
        "mc": by_hand(out.v_ap, out.v_la, 1 / 5, eye),
    }
    for name, value in expected.items():
        assert float(losses[name]) == pytest.approx(value, rel=1e-4), name
    assert float(losses["total"]) == pytest.approx(sum(expected.values()) / 4, rel=1e-4)  # eq. 8
    losses["total"].backward()
    gradients = [float(network.logit_scales[name].grad) for name in expected]
    assert all(g != 0 for g in gradients)


def gradient(targets: str, text: Tensor) -> tuple[float, Tensor]:
    v = features().requires_grad_()
    loss = contrastive_loss(v, text, 10.0, pair_targets(targets, LABELS, text))  # type: ignore[arg-type]
    loss.backward()
    return float(loss), v.grad


def test_one_hot_equals_class_targets_where_classes_share_a_sentence(network: ClipDSA) -> None:
    text = network.text_features[LABELS]
    (loss_paper, grad_paper), (loss_class, grad_class) = gradient("paper", text), gradient("class", text)
    assert loss_paper == pytest.approx(loss_class, abs=1e-5)
    assert torch.allclose(grad_paper, grad_class, atol=1e-6)


def test_they_differ_where_sentences_vary_within_a_class(network: ClipDSA) -> None:
    text = network.text_features[LABELS] + 0.1 * features(9)
    (_, grad_paper), (_, grad_class) = gradient("paper", text), gradient("class", text)
    assert torch.nn.functional.cosine_similarity(grad_paper.flatten(), grad_class.flatten(), dim=0) < 0.999


def test_multi_view_targets_matter(network: ClipDSA) -> None:
    answers = {}
    for mode in ("instance", "class"):
        out = output()
        ClipDSALoss(mc_targets=mode)(network, out, LABELS)["mc"].backward()  # type: ignore[arg-type]
        answers[mode] = out.v_ap.grad.flatten()
    cosine = torch.nn.functional.cosine_similarity(answers["instance"], answers["class"], dim=0)
    assert cosine < 0.9


def test_floor_is_reached_by_perfect_features() -> None:
    text = torch.eye(5, D)[LABELS]
    perfect = contrastive_loss(text, text, 100.0, torch.eye(N))
    assert float(perfect) == pytest.approx(float(one_hot_floor(LABELS)), abs=1e-4)
    counts = [1, 2, 2, 3, 3, 3, 1, 1]
    assert float(one_hot_floor(LABELS)) == pytest.approx(sum(map(math.log, counts)) / N)


def test_prototype_targets_are_cross_entropy_over_all_sentences(network: ClipDSA) -> None:
    out = output()
    losses = ClipDSALoss("prototype", mc_weight=0.0)(network, out, LABELS)
    assert "mc" not in losses
    probabilities = network.logits(out.v_mv, "mv").softmax(dim=1)
    expected = -probabilities[torch.arange(N), LABELS].log().mean()
    assert float(losses["mv"]) == pytest.approx(float(expected), rel=1e-5)


def test_soft_targets_prefer_alike_sentences_and_sum_to_one(network: ClipDSA) -> None:
    text = network.text_features[LABELS]
    wanted = pair_targets("soft", LABELS, text, rho=0.8, tau=0.07)
    assert torch.allclose(wanted.sum(dim=1), torch.ones(N), atol=1e-6)
    same = LABELS[:, None] == LABELS[None]
    off = ~torch.eye(N, dtype=torch.bool)
    assert wanted[same & off].min() > wanted[~same].max()
    assert wanted.diagonal().min() >= 0.2


def test_a_single_view_leaves_the_others_out(network: ClipDSA) -> None:
    losses = ClipDSALoss()(network, ClipDSAOutput(features(), None, None, None, None), LABELS)
    assert set(losses) == {"ap", "total"}
    assert float(losses["ap"]) == float(losses["total"])
