"""A fourth, fine scale of CausalCLIPSeg, ours: the published neck sees nothing finer than a sixteenth.

A lesion's border needs more than one vector for each 16 × 16 pixels. This scale is separated by a mask like
the others (eq. 2) and joins the decoder where that has reached a quarter of the resolution. Until then its
places are packed as channels (space to depth), so that causal features remain one tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PACKED = 4
"""Places of the fine scale along one side of a place of the fused features: 1/4 against 1/16."""


def pack(fine: Tensor) -> Tensor:
    """[B, k, 4 h, 4 w] to [B, 16 k, h, w]."""
    return F.pixel_unshuffle(fine, PACKED)


class FineScale(nn.Module):
    """The first two stages of the image tower, joined at a quarter of the resolution, and their mask.

    Parameters
    ----------
    stage2, stage3 : int
        Channels at 1/4 and at 1/8 of the resolution.
    channels : int
        Of the scale.
    masker : Module
        From [B, channels, h, w] to a mask of that shape.
    """

    def __init__(self, stage2: int, stage3: int, channels: int, masker: nn.Module) -> None:
        super().__init__()
        self.lateral2, self.lateral3 = (_projection(inputs, channels, 1) for inputs in (stage2, stage3))
        self.join = nn.Sequential(_projection(channels, channels, 3), nn.ReLU(inplace=True))
        self.masker = masker

    def forward(self, v2: Tensor, v3: Tensor) -> tuple[Tensor, Tensor]:
        """Features and their mask, each [B, channels, S/4, S/4]."""
        larger = F.interpolate(self.lateral3(v3), scale_factor=2.0, mode="bilinear")
        features = self.join(F.relu(self.lateral2(v2) + larger))
        return features, self.masker(features)


def _projection(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class WithFineScale(nn.Sequential):
    """A decoder: enlarge, convolve, enlarge; then, with the fine scale beside that, all other layers."""

    def forward(self, x: Tensor) -> Tensor:
        """Fused channels with the packed scale behind them, at h × w, to features at 4 h × 4 w."""
        up, convolution, again, *others = self
        channels = cast("nn.Conv2d", next(convolution.children())).in_channels
        fused, fine = x[:, :channels], F.pixel_shuffle(x[:, channels:], PACKED)
        y = torch.cat([again(convolution(up(fused))), fine], dim=1)
        for layer in others:
            y = layer(y)
        return y


def with_fine_scale(state: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network without a fine scale, for one that has it and answers the same at first.

    Parameters
    ----------
    state : mapping
        State dict of the network without.
    fresh : mapping
        State dict of the one with, whose new parts are kept; what reads the new channels becomes 0.

    Returns
    -------
    dict
        `state` itself, as far as it fits already.
    """
    grown = {name: value for name, value in fresh.items() if name.startswith("neck.fine.")} | dict(state)
    for name, value in state.items():
        new = fresh.get(name) if "_decoder.vis." in name else None
        if (
            new is not None
            and value.dim() == 4
            and new.shape[0] == value.shape[0]
            and new.shape[1] > value.shape[1]
        ):
            grown[name] = F.pad(value, (0, 0, 0, 0, 0, new.shape[1] - value.shape[1]))
    return grown
