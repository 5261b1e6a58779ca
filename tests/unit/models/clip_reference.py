"""CLIP's two towers in plain torch, on the names of OpenAI's checkpoints: a second opinion.

Written from the papers and the specification; it imports nothing of the package and nothing of open_clip, so
that a test which compares the two compares two programs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Size:
    """What decides the shape of every weight of a CLIP with a ResNet."""

    layers: tuple[int, int, int, int]
    embed: int
    width: int = 64
    grid: int = 7
    text_width: int = 512
    text_layers: int = 12
    context: int = 77
    vocabulary: int = 49408

    @property
    def last(self) -> int:
        """Channels of the last stage."""
        return 32 * self.width


RN50 = Size((3, 4, 6, 3), embed=1024)
RN101 = Size((3, 4, 23, 3), embed=512)


def norm_shapes(name: str, channels: int) -> Shapes:
    """Of a batch norm, its running statistics included."""
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def image_shapes(size: Size, prefix: str = "visual.") -> Shapes:
    """Every weight of the image tower."""
    half = size.width // 2
    found: Shapes = {}
    for i, (inputs, outputs) in enumerate(((3, half), (half, half), (half, size.width)), start=1):
        found[f"conv{i}.weight"] = (outputs, inputs, 3, 3)
        found |= norm_shapes(f"bn{i}", outputs)
    inputs = size.width
    for stage, blocks in enumerate(size.layers):
        planes = size.width * 2**stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            found[f"{name}.conv1.weight"] = (planes, inputs, 1, 1)
            found[f"{name}.conv2.weight"] = (planes, planes, 3, 3)
            found[f"{name}.conv3.weight"] = (4 * planes, planes, 1, 1)
            found |= norm_shapes(f"{name}.bn1", planes) | norm_shapes(f"{name}.bn2", planes)
            found |= norm_shapes(f"{name}.bn3", 4 * planes)
            if block == 0:
                found[f"{name}.downsample.0.weight"] = (4 * planes, inputs, 1, 1)
                found |= norm_shapes(f"{name}.downsample.1", 4 * planes)
            inputs = 4 * planes
    found["attnpool.positional_embedding"] = (size.grid**2 + 1, size.last)
    for part, outputs in (("q", size.last), ("k", size.last), ("v", size.last), ("c", size.embed)):
        found[f"attnpool.{part}_proj.weight"] = (outputs, size.last)
        found[f"attnpool.{part}_proj.bias"] = (outputs,)
    return {prefix + name: shape for name, shape in found.items()}


def text_shapes(size: Size) -> Shapes:
    """Every weight of the text tower, and the temperature."""
    w = size.text_width
    found: Shapes = {
        "token_embedding.weight": (size.vocabulary, w),
        "positional_embedding": (size.context, w),
        "text_projection": (w, size.embed),
        "logit_scale": (),
        "ln_final.weight": (w,),
        "ln_final.bias": (w,),
    }
    for i in range(size.text_layers):
        block = f"transformer.resblocks.{i}"
        found |= {f"{block}.attn.in_proj_weight": (3 * w, w), f"{block}.attn.in_proj_bias": (3 * w,)}
        found |= {f"{block}.attn.out_proj.weight": (w, w), f"{block}.attn.out_proj.bias": (w,)}
        found |= {f"{block}.{ln}.{part}": (w,) for ln in ("ln_1", "ln_2") for part in ("weight", "bias")}
        found |= {f"{block}.mlp.c_fc.weight": (4 * w, w), f"{block}.mlp.c_fc.bias": (4 * w,)}
        found |= {f"{block}.mlp.c_proj.weight": (w, 4 * w), f"{block}.mlp.c_proj.bias": (w,)}
    return found


def parameters(shapes: Shapes) -> int:
    """Number of parameters, running statistics left out."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(statistics))


def draw(shapes: Shapes, generator: torch.Generator) -> State:
    """Random weights under which signals keep their size from layer to layer, and no term is hidden."""
    state: State = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif len(shape) >= 2:
            fan_in = 10 if "embedding" in name else math.prod(shape[1:])
            state[name] = torch.randn(shape, generator=generator) * (1.5 / fan_in) ** 0.5
        elif name.endswith(("running_var", "weight")):  # gains of norms
            small = 0.3 if "bn3" in name and name.endswith("weight") else 1.0  # short cuts add up otherwise
            state[name] = small * (0.5 + torch.rand(shape, generator=generator))
        else:
            state[name] = 0.1 * torch.randn(shape, generator=generator)
        if ".txt." in name:  # it makes a kernel of 2304 taps
            state[name] *= 0.01
    return state


def convolve(state: State, name: str, x: Tensor) -> Tensor:
    """Same-size convolution with stride one, its bias where there is one."""
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def normalise(state: State, name: str, x: Tensor) -> Tensor:
    """Batch norm with its running statistics."""
    mean, var, gain, shift = (
        state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * gain + shift


def bottleneck(state: State, name: str, x: Tensor, stride: int) -> Tensor:
    """One block: all its convolutions have stride one, and pooling does the halving."""
    y = normalise(state, f"{name}.bn1", convolve(state, f"{name}.conv1", x)).relu()
    y = normalise(state, f"{name}.bn2", convolve(state, f"{name}.conv2", y)).relu()
    y = F.avg_pool2d(y, stride)
    y = normalise(state, f"{name}.bn3", convolve(state, f"{name}.conv3", y))
    if f"{name}.downsample.0.weight" in state:
        x = convolve(state, f"{name}.downsample.0", F.avg_pool2d(x, stride))
        x = normalise(state, f"{name}.downsample.1", x)
    return (x + y).relu()


def image_stages(state: State, x: Tensor, prefix: str = "visual.") -> list[Tensor]:
    """Images (n, 3, S, S) to the outputs of the four stages."""
    for i in (1, 2, 3):
        weight = state[f"{prefix}conv{i}.weight"]
        x = F.conv2d(x, weight, stride=2 if i == 1 else 1, padding=1)
        x = normalise(state, f"{prefix}bn{i}", x).relu()
    x, found = F.avg_pool2d(x, 2), []
    for stage in (1, 2, 3, 4):
        block = 0
        while f"{prefix}layer{stage}.{block}.conv1.weight" in state:
            stride = 2 if block == 0 and stage > 1 else 1
            x = bottleneck(state, f"{prefix}layer{stage}.{block}", x, stride)
            block += 1
        found.append(x)
    return found


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Multi-head attention of projected (n, L, C) tensors, before the output projection."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    scores = scores if mask is None else scores + mask
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def linear(state: State, name: str, x: Tensor) -> Tensor:
    """A linear layer."""
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def mean_pool(state: State, maps: Tensor, pool: str = "visual.attnpool") -> Tensor:
    """CLIP's attention pooling: the mean of all places asks them, (n, C, h, w) to (n, d)."""
    tokens = maps.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + state[f"{pool}.positional_embedding"]
    q, k, v = (linear(state, f"{pool}.{part}_proj", tokens) for part in "qkv")
    return linear(state, f"{pool}.c_proj", attend(q[:, :1], k, v, maps.shape[1] // 64)[:, 0])


def sentence_state(state: State, tokens: Tensor, heads: int | None = None) -> Tensor:
    """The text tower at the end token: (n, L) tokens, L up to the context, to (n, d), not normalised.

    CLIP's heads are 64 wide; `heads` is for towers that are smaller than that.
    """
    length = tokens.shape[1]
    x = state["token_embedding.weight"][tokens] + state["positional_embedding"][:length]
    mask = torch.full((length, length), -math.inf, dtype=x.dtype).triu(1)
    heads = heads or max(1, x.shape[-1] // 64)
    block = 0
    while f"transformer.resblocks.{block}.ln_1.weight" in state:
        name = f"transformer.resblocks.{block}"
        y = layer_norm(state, f"{name}.ln_1", x)
        y = y @ state[f"{name}.attn.in_proj_weight"].T + state[f"{name}.attn.in_proj_bias"]
        x = x + linear(state, f"{name}.attn.out_proj", attend(*y.chunk(3, dim=-1), heads, mask))
        y = linear(state, f"{name}.mlp.c_fc", layer_norm(state, f"{name}.ln_2", x))
        y = y * torch.sigmoid(1.702 * y)  # QuickGELU
        x = x + linear(state, f"{name}.mlp.c_proj", y)
        block += 1
    x = layer_norm(state, "ln_final", x)
    return x[torch.arange(len(x)), tokens.argmax(1)] @ state["text_projection"]


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    """Over the last axis."""
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]
