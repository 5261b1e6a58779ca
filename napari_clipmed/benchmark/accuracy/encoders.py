"""Image and video encoders that CLIP-DSA is compared with: one run of frames in, one feature out.

What torchvision has is torchvision's. ``compact`` are narrow variants of the same architectures, for
processors and small budgets, wherever the library lets widths and depths be chosen.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision import models

Scale = Literal["paper", "compact"]

_NARROW = 4
"""Compact residual networks have a quarter of the channels."""

_video_resnet = importlib.import_module("torchvision.models.video.resnet")
_s3d = importlib.import_module("torchvision.models.video.s3d")
_mvit = importlib.import_module("torchvision.models.video.mvit")
_swin3d = importlib.import_module("torchvision.models.video.swin_transformer")
_swin = importlib.import_module("torchvision.models.swin_transformer")


class FrameEncoder(nn.Module):
    """A 2-D network that sees each frame alone; frame features are averaged over time.

    Parameters
    ----------
    trunk : Module
        (N, 3, S, S) to (N, d).
    width : int
        d.
    """

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk, self.width = trunk, width

    def frames(self, run: Tensor) -> Tensor:
        """Frame features (b, t, d) of runs (b, t, 3, S, S)."""
        images = run.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.trunk(images).unflatten(0, run.shape[:2])

    def forward(self, run: Tensor) -> Tensor:
        """Runs (b, t, 3, S, S) to features (b, d)."""
        return self.frames(run).mean(dim=1)


class RecurrentEncoder(FrameEncoder):
    """A 2-D network, then a bidirectional GRU over its frame features (Mittmann et al. 2022 style).

    The family, not a replica of the published layers.
    """

    def __init__(self, trunk: nn.Module, width: int, hidden: int) -> None:
        super().__init__(trunk, width)
        self.recurrent = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.width = 2 * hidden

    def forward(self, run: Tensor) -> Tensor:
        """Runs (b, t, 3, S, S) to the two last states (b, 2·hidden)."""
        _, last = self.recurrent(self.frames(run).float())
        return torch.cat([last[0], last[1]], dim=-1)


class ConvGRU(nn.Module):
    """A gated recurrent unit whose products are 3×3 convolutions (Ballas et al., ICLR 2016, eq. 9-12)."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(inputs + hidden, 2 * hidden, 3, padding=1)
        self.candidate = nn.Conv2d(inputs + hidden, hidden, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (b, t, C, h, w) to the last state (b, hidden, h, w)."""
        state = maps.new_zeros(len(maps), self.hidden, *maps.shape[3:])
        for frame in maps.unbind(dim=1):
            reset, update = self.gates(torch.cat([frame, state], dim=1)).sigmoid().chunk(2, dim=1)
            new = self.candidate(torch.cat([frame, reset * state], dim=1)).tanh()
            state = (1 - update) * state + update * new
        return state


class ConvRecurrentEncoder(nn.Module):
    """2-D maps, a 3-D convolution over them, then a bidirectional convolutional GRU (Hu et al. style).

    The family, not a replica of the published layers.
    """

    def __init__(self, trunk: nn.Module, channels: int, hidden: int) -> None:
        super().__init__()
        self.trunk, self.width = trunk, 2 * hidden
        self.mix = nn.Sequential(
            nn.Conv3d(channels, hidden, 3, padding=1, bias=False),
            nn.BatchNorm3d(hidden),
            nn.ReLU(inplace=True),
        )
        self.onward, self.back = ConvGRU(hidden, hidden), ConvGRU(hidden, hidden)

    def forward(self, run: Tensor) -> Tensor:
        """Runs (b, t, 3, S, S) to features (b, 2·hidden)."""
        images = run.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        maps = self.trunk(images).unflatten(0, run.shape[:2])
        maps = self.mix(maps.transpose(1, 2)).transpose(1, 2)
        states = torch.cat([self.onward(maps), self.back(maps.flip(1))], dim=1)
        return states.mean(dim=(2, 3))


class VideoEncoder(nn.Module):
    """A network that convolves or attends over space and time at once; takes (b, 3, t, S, S)."""

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk, self.width = trunk, width

    def forward(self, run: Tensor) -> Tensor:
        """Runs (b, t, 3, S, S) to features (b, d)."""
        return self.trunk(run.transpose(1, 2))


class _NarrowResNet(models.ResNet):
    """torchvision's ResNet with stages of a quarter of the channels; the stem keeps its 64."""

    def _make_layer(self, block: Any, planes: int, blocks: int, *rest: Any, **options: Any) -> nn.Sequential:
        return super()._make_layer(block, planes // _NARROW, blocks, *rest, **options)


class _NarrowVideoResNet(models.video.VideoResNet):
    """The same for the video network."""

    def _make_layer(self, block: Any, conv: Any, planes: int, blocks: int, stride: int = 1) -> nn.Sequential:
        return super()._make_layer(block, conv, planes // _NARROW, blocks, stride)


def resnet50(scale: Scale, size: int, frames: int, pretrained: bool) -> nn.Module:
    """ResNet-50 (He et al. 2016); compact: bottlenecks [1, 2, 3, 2] of a quarter of the channels."""
    if scale == "compact":
        return FrameEncoder(_without_head(_small_resnet()), 2048 // _NARROW)
    weights = models.ResNet50_Weights.DEFAULT if pretrained else None
    return FrameEncoder(_without_head(models.resnet50(weights=weights)), 2048)


def swin(scale: Scale, size: int, frames: int, pretrained: bool) -> nn.Module:
    """Swin-S (Liu et al. 2021); compact: depths [1, 1, 3, 1], 32 to 256 channels."""
    if scale == "compact":
        trunk = _swin.SwinTransformer([4, 4], 32, [1, 1, 3, 1], [1, 2, 4, 8], [7, 7])
        return FrameEncoder(_without_head(trunk, "head"), 256)
    weights = models.Swin_S_Weights.DEFAULT if pretrained else None
    return FrameEncoder(_without_head(models.swin_s(weights=weights), "head"), 768)


def mittmann(scale: Scale, size: int, frames: int, pretrained: bool) -> nn.Module:
    """CNN of each frame and a bidirectional GRU: the 2-D network of `resnet50`, GRU of 256 (compact 128)."""
    base = resnet50(scale, size, frames, pretrained)
    assert isinstance(base, FrameEncoder)
    return RecurrentEncoder(base.trunk, base.width, 128 if scale == "compact" else 256)


def hu(scale: Scale, size: int, frames: int, pretrained: bool) -> nn.Module:
    """2-D CNN, 3-D convolution, bidirectional convolutional GRU: on the maps of `resnet50`."""
    base = resnet50(scale, size, frames, pretrained)
    assert isinstance(base, FrameEncoder)
    maps = nn.Sequential(*list(base.trunk.children())[:-2])  # without pooling and head
    return ConvRecurrentEncoder(maps, base.width, 64 if scale == "compact" else 256)


def r3d(scale: Scale, size: int, frames: int, pretrained: bool) -> nn.Module:
    """R3D-18 (Tran et al. 2018); compact: one block a stage, a quarter of the channels."""
    if scale == "compact":
        conv = [_video_resnet.Conv3DSimple] * 4
        trunk = _NarrowVideoResNet(_video_resnet.BasicBlock, conv, [1, 1, 1, 1], _video_resnet.BasicStem)
        return VideoEncoder(_without_head(trunk), 512 // _NARROW)
    weights = _video_resnet.R3D_18_Weights.DEFAULT if pretrained else None
    return VideoEncoder(_without_head(models.video.r3d_18(weights=weights)), 512)


def s3d(scale: Scale, size: int, frames: int, pretrained: bool) -> nn.Module:
    """S3D (Xie et al. 2018); the library offers one width only, compact is the same network."""
    weights = _s3d.S3D_Weights.DEFAULT if pretrained and scale == "paper" else None
    trunk = models.video.s3d(weights=weights)
    if weights is None:  # drawn as the library draws R3D: left as they are, gradients of this depth overflow
        for layer in trunk.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    # The library pools windows of 2 × 7 × 7, made for 224 pixels; the mean over all places is the same there.
    trunk.avgpool, trunk.classifier = nn.AdaptiveAvgPool3d(1), nn.Identity()
    return VideoEncoder(trunk, 1024)


def mvit(scale: Scale, size: int, frames: int, pretrained: bool) -> nn.Module:
    """MViTv2-S (Li et al. 2022); compact: six blocks of 32 to 128 channels."""
    weights = _mvit.MViT_V2_S_Weights.DEFAULT if pretrained and scale == "paper" else None
    if scale == "paper":
        given = {} if weights else {"spatial_size": (size, size), "temporal_size": frames}
        return VideoEncoder(_without_head(models.video.mvit_v2_s(weights=weights, **given), "head"), 768)
    k, one, two = [3, 3, 3], [1, 1, 1], [1, 2, 2]
    blocks = [
        _mvit.MSBlockConfig(1, 32, 32, k, k, one, [1, 4, 4]),
        _mvit.MSBlockConfig(2, 32, 64, k, k, two, two),
        _mvit.MSBlockConfig(2, 64, 64, k, k, one, two),
        _mvit.MSBlockConfig(4, 64, 128, k, k, two, one),
        _mvit.MSBlockConfig(4, 128, 128, k, k, one, one),
        _mvit.MSBlockConfig(4, 128, 128, k, k, one, one),
    ]
    trunk = _mvit.MViT(
        (size, size), frames, blocks,
        residual_pool=True, residual_with_cls_embed=False, rel_pos_embed=True, proj_after_attn=True,
    )  # fmt: skip
    return VideoEncoder(_without_head(trunk, "head"), 128)


def swin3d(scale: Scale, size: int, frames: int, pretrained: bool) -> nn.Module:
    """Video Swin-S (Liu et al. 2022); compact: depths [1, 1, 3, 1], 32 to 256 channels."""
    if scale == "compact":
        trunk = _swin3d.SwinTransformer3d([2, 4, 4], 32, [1, 1, 3, 1], [1, 2, 4, 8], [8, 7, 7])
        return VideoEncoder(_without_head(trunk, "head"), 256)
    weights = _swin3d.Swin3D_S_Weights.DEFAULT if pretrained else None
    return VideoEncoder(_without_head(models.video.swin3d_s(weights=weights), "head"), 768)


ENCODERS: dict[str, Callable[[Scale, int, int, bool], nn.Module]] = {
    "resnet50": resnet50,
    "swin": swin,
    "mittmann": mittmann,
    "hu": hu,
    "r3d": r3d,
    "s3d": s3d,
    "mvit": mvit,
    "swin3d": swin3d,
}
"""Encoder of each row that has no text: of scale, side in pixels, frames, and whether to load weights."""


def _small_resnet() -> nn.Module:
    return _NarrowResNet(models.resnet.Bottleneck, [1, 2, 3, 2])


def _without_head(trunk: nn.Module, name: str = "fc") -> nn.Module:
    """The network up to the feature that its classifier reads."""
    setattr(trunk, name, nn.Identity())
    return trunk
