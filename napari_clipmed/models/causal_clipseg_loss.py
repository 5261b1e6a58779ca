"""The min-max objective of CausalCLIPSeg (eq. 3 and 4), and two tamer ways to play the same game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_clipmed.models.causal_clipseg import CausalCLIPSeg

Adversary = Literal["grl", "paper", "off"]


@dataclass(frozen=True)
class ObjectiveConfig:
    """How the network is judged while it learns.

    Parameters
    ----------
    adversary : "grl", "paper" or "off"
        ``paper`` minimises L_c - λ L_s over all parameters, as published. The confounder decoder then
        gains by answering worse and worse, without bound, so L_s stops counting at `cap`. ``grl`` plays
        the min-max game that is meant: the confounder decoder minimises L_s, and everything before it
        receives that gradient reversed and scaled by λ (Ganin & Lempitsky 2015). ``off`` leaves the
        confounder branch untrained.
    weight : float
        λ; the paper uses 0.05.
    cap : float
        Upper bound of L_s that still counts, for ``paper``.
    dice : float
        Weight of a soft Dice term beside the cross-entropy; 0 as published. Ours.
    """

    adversary: Adversary = "grl"
    weight: float = 0.05
    cap: float = 4.0
    dice: float = 0.0

    def __post_init__(self) -> None:
        if self.adversary not in ("grl", "paper", "off"):
            raise ValueError(f"adversary must be grl, paper or off, not {self.adversary!r}")


@dataclass(frozen=True)
class Losses:
    """`total` is what is minimised; the others are for the log."""

    total: Tensor
    causal: Tensor
    confounder: Tensor
    logits: Tensor


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradients[0], None


def reverse_gradient(x: Tensor, scale: float) -> Tensor:
    """The identity, whose gradient is multiplied by -scale."""
    return _Reverse.apply(x, scale)


def soft_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of the probabilities, for each image of [B, 1, H, W], averaged; 0 for a perfect answer."""
    probability = logits.sigmoid().flatten(1)
    target = target.flatten(1)
    overlap = (probability * target).sum(1)
    return (1 - (2 * overlap + 1) / (probability.sum(1) + target.sum(1) + 1)).mean()


def segmentation_loss(logits: Tensor, target: Tensor, dice: float = 0.0) -> Tensor:
    """ℓ_ce of eq. 4: binary cross-entropy, there being one logit a pixel; plus a Dice term if asked."""
    loss = F.binary_cross_entropy_with_logits(logits, target)
    return loss + dice * soft_dice_loss(logits, target) if dice else loss


def adversarial_losses(
    network: CausalCLIPSeg, x: Tensor, tokens: Tensor, target: Tensor, config: ObjectiveConfig
) -> Losses:
    """One forward pass and the losses of eq. 3 and 4.

    Parameters
    ----------
    x : (B, 3, S, S) float Tensor
    tokens : (B, n) int64 Tensor
    target : (B, 1, S, S) float Tensor of 0 and 1
    config : ObjectiveConfig

    Returns
    -------
    Losses
    """
    separated = network.separate(x)
    tau = network.encode_text(tokens)
    logits = network.causal_decoder(separated.causal, tau).float()
    causal = segmentation_loss(logits, target, config.dice)
    if config.adversary == "off":
        return Losses(causal, causal, torch.zeros_like(causal), logits)
    features = separated.confounder
    if config.adversary == "grl":
        features = reverse_gradient(features, config.weight)
        tau = reverse_gradient(tau, config.weight)
    confounder = segmentation_loss(network.confounder_decoder(features, tau).float(), target)
    if config.adversary == "grl":
        total = causal + confounder
    else:
        total = causal - config.weight * confounder.clamp(max=config.cap)
    return Losses(total, causal, confounder, logits)
