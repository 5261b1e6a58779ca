"""The convolutions of CLIP's ResNet in 8 bits, for processors that multiply bytes natively.

A product of bytes costs half of one in bfloat16 and a quarter of one in float32. What has to be known for it
is how large the numbers get at every place of the network. They differ from run to run, so they are measured
on a few frames of the run itself, which are read in floating point, instead of once and for all.

Weights: symmetric, one scale for each output channel. Activations: all of them follow a ReLU, hence unsigned,
one scale for each place. Sums are 32-bit integers. The first convolution, whose input has a sign, stays in
floating point. The operators are those that torch's own compiler emits for oneDNN (`torch.ops.onednn`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from open_clip.modified_resnet import Bottleneck, ModifiedResNet
from torch import Tensor, nn

from napari_clipmed.models.fused_blocks import FusedBlock, FusedConv, can_fuse

LEVELS = 255
HEADROOM = 1.1
"""Other frames of a run may show a little more than those that were measured."""

_LAYERS = ("layer1", "layer2", "layer3", "layer4")


def can_multiply_bytes() -> bool:
    """Whether this processor and this build of torch multiply bytes faster than floating-point numbers."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    native = any(capabilities.get(name, False) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))
    operators = torch.ops.onednn
    return (
        native and can_fuse() and all(hasattr(operators, n) for n in ("qconv_prepack", "qconv2d_pointwise"))
    )


@dataclass(frozen=True)
class Scales:
    """The value of one step of a byte at each place of the network, in the order of computation."""

    steps: tuple[float, ...]


class Int8Trunk:
    """Frames to the last map of an image tower, like `ClipDSA.trunk`.

    Parameters
    ----------
    visual : ModifiedResNet
        Batch norms folded (`models.folding`), weights still in float32; they are copied.
    """

    def __init__(self, visual: ModifiedResNet) -> None:
        self._stem = (_Int8Conv(visual.conv2), _Int8Conv(visual.conv3))
        self._layers = tuple(tuple(_Int8Block(block) for block in getattr(visual, n)) for n in _LAYERS)

    def measure(self, visual: ModifiedResNet, images: Tensor) -> tuple[Tensor, Scales]:
        """Read some frames in floating point, and learn how large the numbers get.

        Parameters
        ----------
        visual : ModifiedResNet
            The same tower with its blocks fused (`models.fused_blocks`), in any number format.
        images : (n, 3, S, S) Tensor
            In the format of `visual`.

        Returns
        -------
        maps : (n, C, S / 32, S / 32) Tensor
        scales : Scales
        """
        largest: list[float] = []

        def seen(values: Tensor) -> Tensor:
            largest.append(float(values.max()))
            return values

        x = visual.conv1(images)
        for conv in (visual.conv2, visual.conv3):
            x = conv(seen(x))
        x = visual.avgpool(seen(x))
        for name in _LAYERS:
            for block in getattr(visual, name):
                assert isinstance(block, FusedBlock)
                inner = block.avgpool(seen(block.conv2(seen(block.conv1(x)))))
                x = seen(block.conv3.added_to(block.downsample(x), inner))
        return x, Scales(tuple(HEADROOM * max(value, 1e-6) / LEVELS for value in largest))

    def __call__(self, first: FusedConv, images: Tensor, scales: Scales) -> Tensor:
        """Read frames in bytes.

        Parameters
        ----------
        first : FusedConv
            The first convolution of the tower, in floating point.
        images : (n, 3, S, S) Tensor
            In its format.
        scales : Scales
            Of frames of the same run.

        Returns
        -------
        (n, C, S / 32, S / 32) Tensor
            In the format of `images`.
        """
        steps = iter(scales.steps)
        x = _Bytes.of(first(images), next(steps))
        for conv in self._stem:
            x = conv(x, next(steps))
        x = x.pooled()
        blocks = [block for layer in self._layers for block in layer]
        for block in blocks[:-1]:
            x = block(x, steps)
        return blocks[-1].in_full(x, steps, images.dtype)


@dataclass(frozen=True)
class _Bytes:
    """Activations (n, C, h, w) uint8, channels last: `values` times `step`."""

    values: Tensor
    step: float

    @classmethod
    def of(cls, x: Tensor, step: float) -> _Bytes:
        return cls((x * (1.0 / step)).round_().clamp_(max=LEVELS).to(torch.uint8), step)

    def pooled(self) -> _Bytes:
        """Means of 2 x 2, rounded; as a convolution of each channel, since that operator is the fastest."""
        channels = self.values.shape[1]
        weight, quarter, zero = _mean_of_four(channels)
        mean = torch.ops.onednn.qconv2d_pointwise.default(
            self.values, 1.0, 0, weight, quarter, zero, None, [2, 2], [0, 0], [1, 1], channels,
            1.0, 0, torch.uint8, "none", [], "",
        )  # fmt: skip
        return _Bytes(mean, self.step)


@lru_cache
def _mean_of_four(channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Packed ones, their scale and their zero point, for so many channels."""
    quarter, zero = torch.full((channels,), 0.25), torch.zeros(channels, dtype=torch.int64)
    ones = torch.ones(channels, 1, 2, 2, dtype=torch.int8)
    packed = torch.ops.onednn.qconv_prepack(ones, quarter, 1.0, 0, [2, 2], [0, 0], [1, 1], channels, None)
    return packed, quarter, zero


class _Int8Conv:
    """A convolution of bytes with bytes."""

    def __init__(self, conv: nn.Conv2d) -> None:
        weight = conv.weight.detach().float()
        self._scale = weight.abs().amax(dim=(1, 2, 3)).clamp_min(1e-12) / 127
        self._zero = torch.zeros(len(self._scale), dtype=torch.int64)
        self._weight = (weight / self._scale[:, None, None, None]).round().to(torch.int8)
        self._bias = None if conv.bias is None else conv.bias.detach().float()
        self._geometry = list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups
        self._packed: Tensor | None = None

    def __call__(self, x: _Bytes, step: float) -> _Bytes:
        """ReLU of the convolution, in bytes of a given step."""
        return _Bytes(self.in_full(x, torch.uint8, step, "relu"), step)

    def in_full(self, x: _Bytes, dtype: torch.dtype, step: float = 1.0, then: str = "none") -> Tensor:
        """The convolution in another format."""
        return torch.ops.onednn.qconv2d_pointwise.default(
            *self._given(x), self._bias, *self._geometry, step, 0, dtype, then, [], ""
        )

    def added_to(self, short_cut: Tensor, x: _Bytes, step: float, its_step: float) -> Tensor:
        """ReLU of the convolution plus the short cut, written over the short cut, in its format."""
        return torch.ops.onednn.qconv2d_pointwise.binary(
            *self._given(x), short_cut, self._bias, *self._geometry,
            step, 0, short_cut.dtype, its_step, 0, "sum", 1.0, "relu", [], "",
        )  # fmt: skip

    def _given(self, x: _Bytes) -> tuple[Tensor, float, int, Tensor, Tensor, Tensor]:
        if self._packed is None:  # in the layout that suits the size of the input, which stays the same
            self._packed = torch.ops.onednn.qconv_prepack(
                self._weight, self._scale, 1.0, 0, *self._geometry, list(x.values.shape)
            )
        return x.values, x.step, 0, self._packed, self._scale, self._zero


class _Int8Block:
    """open_clip's `Bottleneck` with folded norms."""

    def __init__(self, block: Bottleneck) -> None:
        self._convs = tuple(_Int8Conv(conv) for conv in (block.conv1, block.conv2, block.conv3))
        down = block.downsample
        convs = [] if down is None else [part for part in down.modules() if isinstance(part, nn.Conv2d)]
        self._short_cut = _Int8Conv(convs[0]) if convs else None
        self._halves = block.stride > 1

    def __call__(self, x: _Bytes, steps: Iterator[float]) -> _Bytes:
        """Bytes to bytes; those of `x` may be written over."""
        inner = self._inner(x, steps)
        step = next(steps)
        if self._short_cut is None:
            return _Bytes(self._convs[2].added_to(x.values, inner, step, x.step), step)
        # A convolved short cut has a sign, which these bytes have not.
        return _Bytes.of(self._convs[2].added_to(self._shortened(x, torch.bfloat16), inner, 1.0, 1.0), step)

    def in_full(self, x: _Bytes, steps: Iterator[float], dtype: torch.dtype) -> Tensor:
        """Bytes to floating point: the last block, whose output is kept."""
        inner = self._inner(x, steps)
        return self._convs[2].added_to(self._shortened(x, dtype), inner, 1.0, 1.0)

    def _inner(self, x: _Bytes, steps: Iterator[float]) -> _Bytes:
        first, second, _ = self._convs
        inner = second(first(x, next(steps)), next(steps))
        return inner.pooled() if self._halves else inner

    def _shortened(self, x: _Bytes, dtype: torch.dtype) -> Tensor:
        if self._short_cut is None:
            return x.values.to(dtype).mul_(x.step)
        return self._short_cut.in_full(x.pooled() if self._halves else x, dtype)
