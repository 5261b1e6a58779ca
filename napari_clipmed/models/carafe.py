"""CARAFE, content-aware reassembly of features (Wang et al., ICCV 2019), as CausalCLIPSeg uses it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Carafe(nn.Module):
    """Upsample a feature map by predicting, for every new pixel, how to blend a 3×3 neighbourhood.

    Differs from the original in the released CausalCLIPSeg way: the blended window is 3×3 (not 5×5), the
    bottleneck has a quarter of the channels, and a 1×1 convolution follows.

    Parameters
    ----------
    channels : int
        Channels of input and output.
    factor : int
        Upsampling factor.
    kernel : int
        Side of the blended window, odd.
    """

    def __init__(self, channels: int, factor: int = 2, kernel: int = 3) -> None:
        super().__init__()
        self.factor = factor
        self.kernel = kernel
        self.down = nn.Conv2d(channels, channels // 4, 1)
        self.encoder = nn.Conv2d(channels // 4, factor**2 * kernel**2, kernel, padding=kernel // 2)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C, factor·h, factor·w]."""
        b, c, h, w = features.shape
        s, k = self.factor, self.kernel
        # The shuffle puts the k² blending weights of each new pixel into the channels of that pixel.
        blend = F.pixel_shuffle(self.encoder(self.down(features)), s).softmax(dim=1)
        blend = blend.reshape(b, k * k, h, s, w, s)
        windows = F.unfold(features, k, padding=k // 2).reshape(b, c, k * k, h, w)
        blended = torch.einsum("bckhw,bkhiwj->bchiwj", windows, blend.to(windows.dtype))
        return self.out(blended.reshape(b, c, h * s, w * s))
