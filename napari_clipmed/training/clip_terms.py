"""What a small CLIP is judged by: targets, terms of the objective and the score, as pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from napari_clipmed.models.prompts import mirrored

NEAREST_LABEL = "val/nearest_label"


def soft_targets(labels: Tensor, words: Tensor, soft: float, tau: float) -> Tensor:
    """Which sentence of a batch belongs to which picture, (n, n), rows summing to one.

    Parameters
    ----------
    labels : (n,) Tensor
    words : (n, w) Tensor of 0 and 1
        Bags of words. The likeness of two sentences is the share of their words that both have (Jaccard).
    soft : float
        This share goes by softmax(likeness / tau), in which label and words count alike; the rest is shared
        by the sentences that are the same.
    """
    common = words @ words.T
    union = words.sum(dim=1)[:, None] + words.sum(dim=1)[None, :] - common
    alike = common / union.clamp_min(1.0)
    same = (alike > 0.999).float()
    same = same / same.sum(dim=1, keepdim=True).clamp_min(1.0)
    label = (labels[:, None] == labels[None, :]).float()
    return (1.0 - soft) * same + soft * ((label + alike) / (2.0 * tau)).softmax(dim=1)


def best_places(places: Tensor, text: Tensor, sharpness: float) -> Tensor:
    """Cosines (b, n) of pictures and sentences by a soft maximum over places.

    Parameters
    ----------
    places : (b, p, d) Tensor
        Unit vectors.
    text : (n, d) Tensor
        Unit vectors.
    sharpness : float
        0 would be the mean, infinity the maximum.
    """
    cosines = torch.einsum("bpd,nd->bnp", places, text)
    return (torch.logsumexp(sharpness * cosines, dim=-1) - math.log(places.shape[1])) / sharpness


def symmetric_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Both directions of `contrastive_loss`, from logits (n, n)."""
    backward = targets.T / targets.T.sum(dim=1, keepdim=True)
    return 0.5 * (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, backward))


def sided_sentences(sentences: Sequence[str]) -> dict[int, str]:
    """Of the sentences that name a side, by their place: the same one about the other side."""
    turned = {place: mirrored(text) for place, text in enumerate(sentences)}
    return {place: text for place, text in turned.items() if text != sentences[place]}


def side_loss(lead: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of each picture between its own sentence and that of the other side.

    In a batch the two seldom meet, and by their words they are nearly the same: without this term sides are
    not learned (a hard negative in the manner of NegCLIP, Yuksekgonul et al., ICLR 2023).

    Parameters
    ----------
    lead : (n,) Tensor
        Cosine of picture and own sentence, less that of picture and turned sentence.
    scale : Tensor
        1 / temperature.
    """
    return functional.softplus(-scale * lead).mean()


def retrieval_figures(images: Tensor, text: Tensor, labels: Tensor) -> dict[str, float]:
    """How often the nearest sentence of all carries the picture's label, as the mean over labels.

    ``val/nearest_label`` counts sentences of other pictures only; ``val/chance`` is what guessing gives.
    """
    cosines = images @ text.T
    cosines.fill_diagonal_(-2.0)
    right = labels[cosines.argmax(dim=1)] == labels
    each = [right[labels == label].float().mean() for label in labels.unique()]
    same = (labels[:, None] == labels[None, :]).float().fill_diagonal_(0.0).sum(dim=1) / max(
        1, len(labels) - 1
    )
    chance = [same[labels == label].mean() for label in labels.unique()]
    return {
        NEAREST_LABEL: float(torch.stack(each).mean()),
        "val/chance": float(torch.stack(chance).mean()),
        "val/n": float(len(labels)),
    }
