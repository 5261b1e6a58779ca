"""What the choice of targets changes in the losses of CLIP-DSA, and what it cannot change.

The equations themselves are in `test_clip_dsa_equations`.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from napari_clipmed.models.clip_dsa import ClipDSA, ClipDSAOutput
from napari_clipmed.models.clip_dsa_loss import (
    ClipDSALoss,
    contrastive_loss,
    one_hot_floor,
    pair_targets,
    similarities,
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


def descent(targets: str, text: Tensor) -> tuple[float, Tensor, Tensor]:
    """The image-text loss, and its gradients by the features and by log(1/epsilon)."""
    v, scale = features().requires_grad_(), torch.tensor(math.log(10.0), requires_grad=True)
    wanted = pair_targets(targets, LABELS, text)  # type: ignore[arg-type]
    loss = contrastive_loss(v, text, scale.exp(), wanted)
    loss.backward()
    return float(loss.detach()), v.grad, scale.grad


def alike(a: Tensor, b: Tensor) -> float:
    return float(functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def test_one_hot_equals_class_targets_where_classes_share_a_sentence(network: ClipDSA) -> None:
    """The same loss and the same descent: columns of a class are equal, so only sums over a class matter.

    That holds for the sum over the batch. A single study's share of the sentence-to-image direction differs.
    """
    text = network.text_features[LABELS]
    (loss, by_v, by_scale), (class_loss, class_by_v, class_by_scale) = (
        descent(targets, text) for targets in ("paper", "class")
    )
    assert loss == pytest.approx(class_loss, abs=1e-5)
    assert torch.allclose(by_v, class_by_v, atol=1e-6)
    assert torch.allclose(by_scale, class_by_scale, atol=1e-6)
    similarity = similarities(features(), text, 10.0).T
    each = [
        functional.cross_entropy(similarity, pair_targets(t, LABELS), reduction="none")  # type: ignore[arg-type]
        for t in ("paper", "class")
    ]
    assert (each[0] - each[1]).abs().max() > 0.1
    assert float(each[0].sum()) == pytest.approx(float(each[1].sum()), rel=1e-5)


def test_one_hot_is_cross_entropy_over_classes_that_knows_how_frequent_they_are(network: ClipDSA) -> None:
    """Images to sentences, one-hot = CE over the classes with logits + log n_c, plus the mean of log n_y.

    The specification has the two equal; they are, up to that constant, which is `one_hot_floor`: the
    descent is the same, the values are not.
    """
    v, text = features().requires_grad_(), network.text_features[LABELS]
    one_hot = functional.cross_entropy(similarities(v, text, 10.0), torch.arange(N))
    counts = torch.bincount(LABELS).float()
    adjusted = functional.cross_entropy(similarities(v, network.text_features, 10.0) + counts.log(), LABELS)
    assert float(one_hot.detach()) == pytest.approx(
        float(adjusted.detach() + one_hot_floor(LABELS)), abs=1e-5
    )
    assert abs(float(one_hot.detach() - adjusted.detach())) > 0.5
    gradients = [torch.autograd.grad(loss, v)[0] for loss in (one_hot, adjusted)]
    assert torch.allclose(*gradients, atol=1e-6)


def test_they_differ_where_sentences_vary_within_a_class(network: ClipDSA) -> None:
    text = network.text_features[LABELS] + 0.1 * features(9)
    (loss, by_v, _), (class_loss, class_by_v, _) = (descent(t, text) for t in ("paper", "class"))
    assert abs(loss - class_loss) > 1e-3
    assert alike(by_v, class_by_v) < 0.999


def between_views(mode: str, out: ClipDSAOutput, network: ClipDSA) -> tuple[float, Tensor]:
    loss = ClipDSALoss(mc_targets=mode)(network, out, LABELS)["mc"]  # type: ignore[arg-type]
    loss.backward()
    return float(loss.detach()), out.v_ap.grad


def test_multi_view_targets_matter(network: ClipDSA) -> None:
    """One-hot tells patients of a class from each other; class targets bring them together."""
    (loss, by_ap), (class_loss, class_by_ap) = (
        between_views(mode, output(), network) for mode in ("instance", "class")
    )
    assert alike(by_ap, class_by_ap) < 0.9
    assert abs(loss - class_loss) > 0.01


def test_multi_view_targets_agree_where_patients_of_a_class_look_the_same(network: ClipDSA) -> None:
    """The same reason as for shared sentences: then, and only then, the columns of a class are equal."""
    prototypes = features(7)
    answers = {}
    for mode in ("instance", "class"):
        out = ClipDSAOutput(features().requires_grad_(), prototypes[LABELS], None, None, None)
        answers[mode] = between_views(mode, out, network)
    assert answers["instance"][0] == pytest.approx(answers["class"][0], abs=1e-5)
    assert torch.allclose(answers["instance"][1], answers["class"][1], atol=1e-6)


def test_what_a_batch_of_the_paper_holds() -> None:
    """Section 1.2 of the specification, from the counts of the paper's training set."""
    counts = torch.tensor([678, 619, 256, 329, 438], dtype=torch.float64)
    share = counts / counts.sum()
    assert counts.sum() == 2320
    assert float(15 * share.square().sum()) == pytest.approx(3.37, abs=0.005), "others of one's class"
    assert float((1 - share[2]) ** 16) == pytest.approx(0.15, abs=0.005), "no aneurysm in the batch"
    torch.manual_seed(0)
    floors = [float(one_hot_floor(torch.multinomial(share, 16, replacement=True))) for _ in range(2000)]
    assert sum(floors) / len(floors) == pytest.approx(1.37, abs=0.02)


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
