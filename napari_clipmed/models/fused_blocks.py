"""CLIP's ResNet on a processor with ReLU and short cut done inside the convolutions, in one pass over memory.

The operators are those that torch's own compiler emits for oneDNN (`torch.ops.mkldnn`); where a build of
torch lacks them, the network is left as it is and computes the same a little slower.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.modified_resnet import Bottleneck, ModifiedResNet
from torch import Tensor, nn


def fuse_blocks(visual: ModifiedResNet) -> bool:
    """Replace the blocks of an image tower whose batch norms were folded, in place.

    Parameters
    ----------
    visual : ModifiedResNet
        For inference on the CPU only from now on: the operators have no gradient.

    Returns
    -------
    bool
        Whether this build of torch can; if not, nothing was changed.
    """
    if not can_fuse():
        return False
    for number in (1, 2, 3):
        _fuse_pair(visual, number)
    for name in ("layer1", "layer2", "layer3", "layer4"):
        layer = getattr(visual, name)
        setattr(visual, name, nn.Sequential(*(FusedBlock(block) for block in layer)))
    return True


def can_fuse() -> bool:
    """Whether torch was built with oneDNN and its fused convolutions."""
    if not torch.backends.mkldnn.is_available():
        return False
    operator = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
    return operator is not None and "binary" in operator.overloads()


class FusedConv(nn.Module):
    """A convolution followed by ReLU, or by the sum with a short cut and ReLU.

    Parameters
    ----------
    conv : Conv2d
        Its weights are shared.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self._geometry: tuple[Any, ...] = (conv.padding, conv.stride, conv.dilation, conv.groups)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU of the convolution."""
        operator = torch.ops.mkldnn._convolution_pointwise
        return operator(x, self.weight, self.bias, *self._geometry, "relu", [], "")

    def added_to(self, short_cut: Tensor, x: Tensor) -> Tensor:
        """ReLU of the convolution of `x` plus the short cut."""
        operator = torch.ops.mkldnn._convolution_pointwise.binary
        return operator(x, short_cut, self.weight, self.bias, *self._geometry, "add", 1.0, "relu", [], None)


class FusedBlock(nn.Module):
    """open_clip's `Bottleneck` with folded norms, in three passes over memory and one for a short cut."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (FusedConv(c) for c in (block.conv1, block.conv2, block.conv3))
        self.avgpool = block.avgpool
        self.downsample = block.downsample if block.downsample is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, 4 planes, h / stride, w / stride]."""
        inner = self.avgpool(self.conv2(self.conv1(x)))
        return self.conv3.added_to(self.downsample(x), inner)


def _fuse_pair(visual: ModifiedResNet, number: int) -> None:
    setattr(visual, f"conv{number}", FusedConv(getattr(visual, f"conv{number}")))
    setattr(visual, f"act{number}", nn.Identity())
