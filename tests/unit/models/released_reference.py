"""The published CausalCLIPSeg by its own names: shapes of every weight, and the forward pass in plain torch.

Written from section 2.1 of the specification, on CLIP's towers of `clip_reference`.
"""

from __future__ import annotations

import torch
from clip_reference import (
    Shapes,
    Size,
    State,
    attend,
    convolve,
    image_shapes,
    image_stages,
    linear,
    norm_shapes,
    normalise,
    sentence_state,
    text_shapes,
)
from torch import Tensor
from torch.nn import functional as F


def layer_shapes(name: str, inputs: int, outputs: int, kernel: int) -> Shapes:
    """A convolution without bias and its norm."""
    return {f"{name}.0.weight": (outputs, inputs, kernel, kernel)} | norm_shapes(f"{name}.1", outputs)


def biased(name: str, inputs: int, outputs: int, kernel: int) -> Shapes:
    """A convolution with bias."""
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}


def used_neck(c: int, stage4: int) -> Shapes:
    """What of the neck takes part, 36.6 M for RN101."""
    found = layer_shapes("neck_ad.f2_v_proj", stage4, c, 3) | layer_shapes("neck_ad.f4_proj4", c, c, 3)
    found |= layer_shapes("neck_ad.aggr", 3 * c, c, 1)
    for masker in (3, 4, 5):
        name = f"neck_ad.masker{masker}"
        found |= layer_shapes(f"{name}.coordconv.conv1", c + 2, c, 3) | layer_shapes(f"{name}.conv2", c, c, 3)
        found |= layer_shapes(f"{name}.coordconv2.conv1", c + 2, c, 3)
        found |= biased(f"{name}.conv", c, c, 3) | norm_shapes(f"{name}.bn", c)
    found |= biased("neck_ad.carafe.down", c, c // 4, 1) | biased("neck_ad.carafe.encoder", c // 4, 36, 3)
    return found | biased("neck_ad.carafe.out", c, c, 1)


def unused_neck(c: int, stage4: int) -> Shapes:
    """What the published neck holds and never uses, 15.2 M for RN101."""
    name = "neck_ad"
    found: Shapes = {f"{name}.txt_proj.0.weight": (stage4, c)} | norm_shapes(f"{name}.txt_proj.1", stage4)
    found |= layer_shapes(f"{name}.f1_v_proj", c, stage4, 1) | norm_shapes(f"{name}.norm_layer.0", stage4)
    found |= layer_shapes(f"{name}.f2_cat", stage4 + c, c, 1) | layer_shapes(
        f"{name}.f3_v_proj", c, c // 2, 3
    )
    found |= layer_shapes(f"{name}.f3_cat", c // 2 + c, c, 1) | layer_shapes(f"{name}.f4_proj5", stage4, c, 3)
    found |= layer_shapes(f"{name}.f4_proj3", c, c, 3)
    found |= layer_shapes(f"{name}.coordconv.0.conv1", c + 2, c, 3)
    return found | layer_shapes(f"{name}.coordconv.1", c, c, 3)


def projector(name: str, c: int) -> Shapes:
    """One decoder."""
    found = layer_shapes(f"{name}.vis.1", c, c, 3) | layer_shapes(f"{name}.vis.3", c, c // 2, 3)
    found |= biased(f"{name}.vis.4", c // 2, c // 2, 1)
    outputs = c // 2 * 9 + 1
    return found | {f"{name}.txt.weight": (outputs, c), f"{name}.txt.bias": (outputs,)}


def backbone(size: Size) -> Shapes:
    """CLIP and the short cut of its dense pooling."""
    clip = image_shapes(size) | text_shapes(size)
    connect = layer_shapes("visual.attnpool.connect", size.last, size.embed, 1)
    return {f"backbone.{name}": shape for name, shape in (clip | connect).items()}


def published(size: Size) -> Shapes:
    """Every entry of a published state dict."""
    c, stage4 = size.embed, 16 * size.width
    found = backbone(size) | used_neck(c, stage4) | unused_neck(c, stage4)
    return found | projector("proj", c) | projector("proj_ad", c)


class Reference:
    """The forward pass on the published names, from pixels and tokens to both masks."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.clip = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}

    def layer(self, name: str, x: Tensor) -> Tensor:
        return normalise(self.state, f"{name}.1", convolve(self.state, f"{name}.0", x)).relu()

    def coord(self, name: str, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        place = torch.empty(b, 2, h, w, dtype=x.dtype)
        for row in range(h):
            for column in range(w):
                place[:, 0, row, column] = -1 + 2 * column / (w - 1)
                place[:, 1, row, column] = -1 + 2 * row / (h - 1)
        return self.layer(f"{name}.conv1", torch.cat([x, place], 1))

    def mask(self, name: str, x: Tensor) -> Tensor:
        x = self.layer(f"{name}.conv2", self.coord(f"{name}.coordconv", x))
        x = convolve(self.state, f"{name}.conv", self.coord(f"{name}.coordconv2", x))
        return normalise(self.state, f"{name}.bn", x).sigmoid()

    def carafe(self, x: Tensor) -> Tensor:
        weights = convolve(self.state, "neck_ad.carafe.down", x)
        weights = F.pixel_shuffle(convolve(self.state, "neck_ad.carafe.encoder", weights), 2).softmax(1)
        nearest = F.unfold(x, 3, padding=1).reshape(*x.shape[:2], 9, *x.shape[2:])
        nearest = nearest.repeat_interleave(2, 3).repeat_interleave(2, 4)
        return convolve(self.state, "neck_ad.carafe.out", (nearest * weights[:, None]).sum(2))

    def dense_pool(self, x: Tensor) -> Tensor:
        name = "visual.attnpool"
        grid = self.clip[f"{name}.positional_embedding"][1:]
        side = round(len(grid) ** 0.5)
        grid = grid.T.reshape(1, -1, side, side)
        grid = F.interpolate(grid, x.shape[2:], mode="bicubic", align_corners=False)
        tokens = (x + grid).flatten(2).transpose(1, 2)
        q, k, v = (linear(self.clip, f"{name}.{part}_proj", tokens) for part in "qkv")
        y = linear(self.clip, f"{name}.c_proj", attend(q, k, v, x.shape[1] // 64))
        short = normalise(self.clip, f"{name}.connect.1", convolve(self.clip, f"{name}.connect.0", x))
        return (y.transpose(1, 2).unflatten(2, x.shape[2:]) + short).relu()

    def stages(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, v3, v4, c5 = image_stages(self.clip, image)
        return v3, v4, self.dense_pool(c5)

    def project(self, name: str, x: Tensor, tau: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=4, mode="bilinear")
        x = F.interpolate(self.layer(f"{name}.vis.1", x), scale_factor=4, mode="bilinear")
        x = convolve(self.state, f"{name}.vis.4", self.layer(f"{name}.vis.3", x))
        b, c, h, w = x.shape
        word = linear(self.state, f"{name}.txt", tau)
        kernel, bias = word[:, :-1].reshape(b, c, 3, 3), word[:, -1]
        return F.conv2d(x.reshape(1, b * c, h, w), kernel, bias, padding=1, groups=b).transpose(0, 1)

    def __call__(self, image: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        v3, v4, v5 = self.stages(image)
        tau = sentence_state(self.clip, tokens)
        scales = (
            F.avg_pool2d(v3, 2, 2),
            self.layer("neck_ad.f4_proj4", self.layer("neck_ad.f2_v_proj", v4)),
            self.carafe(v5),
        )
        masks = [self.mask(f"neck_ad.masker{i}", f) for i, f in zip((3, 4, 5), scales, strict=True)]
        sup = torch.cat([f * m for f, m in zip(scales, masks, strict=True)], 1)
        inf = torch.cat([f * (1 - m) for f, m in zip(scales, masks, strict=True)], 1)
        return (
            self.project("proj", self.layer("neck_ad.aggr", sup), tau),
            self.project("proj_ad", self.layer("neck_ad.aggr", inf), tau),
        )
