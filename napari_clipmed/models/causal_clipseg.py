"""CausalCLIPSeg (Chen et al., MICCAI 2024): a mask of a lesion from an X-ray and a sentence.

Image tower, text tower and their checkpoints are open_clip's. What is ours follows the paper's equations 1
and 2, in the order of the released code: the three stages are brought to one sixteenth of the resolution,
masked there, and fused by one shared 1×1 convolution. The text enters in the decoder only, so the expensive
part of the answer, `encode_image`, is computed once an image and each further sentence costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, cast

import torch
from open_clip import CLIP
from open_clip.modified_resnet import AttentionPool2d
from torch import Tensor, nn
from torch.nn import functional as F

from napari_clipmed.models.backbones import clip_config, create_clip, modified_resnet
from napari_clipmed.models.carafe import Carafe
from napari_clipmed.models.fine_scale import PACKED, FineScale, WithFineScale, pack
from napari_clipmed.models.folding import cast_products
from napari_clipmed.models.vocabulary import Vocabulary

STRIDE = 16
"""The neck works at this fraction of the input resolution."""


class Separated(NamedTuple):
    """What belongs to the lesion, and what merely goes with it (eq. 2), each [B, C, S/16, S/16]."""

    causal: Tensor
    confounder: Tensor


def conv_bn_relu(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU, at the same resolution."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class CoordConv(nn.Sequential):
    """A 3×3 `conv_bn_relu` that also sees where it is: x and y from -1 to 1 as two more channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(*conv_bn_relu(inputs + 2, outputs, 3))

    def forward(self, features: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, outputs, h, w]."""
        b, _, h, w = features.shape
        x = torch.linspace(-1, 1, w, device=features.device, dtype=features.dtype)
        y = torch.linspace(-1, 1, h, device=features.device, dtype=features.dtype)
        x, y = x.expand(b, 1, h, w), y[:, None].expand(b, 1, h, w)
        return super().forward(torch.cat([features, x, y], dim=1))


class Masker(nn.Sequential):
    """Attention mask M of one scale, per channel and place (eq. 2): [B, C, h, w] in (0, 1).

    Parameters
    ----------
    channels : int
        Channels of the features and of the mask.
    hidden : int
        Channels in between; the released network has `channels`.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__(
            CoordConv(channels, hidden),
            conv_bn_relu(hidden, hidden, 3),
            CoordConv(hidden, hidden),
            nn.Conv2d(hidden, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.Sigmoid(),
        )


class CausalNeck(nn.Module):
    """Three stages of the image tower in, causal and confounding features out (section 2.3).

    Parameters
    ----------
    stage4 : int
        Channels of the second highest stage; the other two have `channels` already.
    channels, hidden : int
        Channels of all that follows, and inside the maskers.
    fine : FineScale or None
        A fourth scale at a quarter of the resolution. Ours.
    """

    def __init__(self, stage4: int, channels: int, hidden: int, fine: FineScale | None = None) -> None:
        super().__init__()
        self.fine = fine
        self.reduce4 = nn.Sequential(conv_bn_relu(stage4, channels, 3), conv_bn_relu(channels, channels, 3))
        self.carafe = Carafe(channels)
        self.maskers = nn.ModuleList(Masker(channels, hidden) for _ in range(3))
        self.aggregate = conv_bn_relu(3 * channels, channels, 1)

    def align(self, v3: Tensor, v4: Tensor, v5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bring stages at 1/8, 1/16 and 1/32 of the resolution to 1/16."""
        return F.avg_pool2d(v3, 2), self.reduce4(v4), self.carafe(v5)

    def forward(self, v3: Tensor, v4: Tensor, v5: Tensor, v2: Tensor | None = None) -> Separated:
        """Mask each scale and its complement, and fuse both sets by the same convolution.

        A fine scale is not fused: its places are packed behind the fused channels (see `fine_scale`).
        """
        features = self.align(v3, v4, v5)
        masks = [masker(f) for masker, f in zip(self.maskers, features, strict=True)]
        causal = torch.cat([f * m for f, m in zip(features, masks, strict=True)], dim=1)
        confounder = torch.cat([f * (1 - m) for f, m in zip(features, masks, strict=True)], dim=1)
        fused = Separated(self.aggregate(causal), self.aggregate(confounder))
        if self.fine is None or v2 is None:
            return fused
        detail, mask = self.fine(v2, v3)
        return Separated(
            torch.cat([fused.causal, pack(detail * mask)], dim=1),
            torch.cat([fused.confounder, pack(detail * (1 - mask))], dim=1),
        )


class TextDecoder(nn.Module):
    """Eq. 1: the sentence becomes a convolution kernel and a bias that are run over the features.

    Parameters
    ----------
    channels, hidden : int
        Channels of the fused features, and after the first convolution (released: as many); the kernel
        W_τ has half of the latter.
    text_width : int
        Length of the sentence vector τ.
    upsampling : pair of int
        The two bilinear factors: (4, 4) reaches full resolution, (2, 2) a quarter of it.
    kernel : int
        Side K of the kernel.
    fine : int
        Channels of a fine scale that is packed behind the fused features.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        text_width: int,
        upsampling: Sequence[int],
        kernel: int = 3,
        fine: int = 0,
    ) -> None:
        super().__init__()
        first, second = upsampling
        self.kernel = kernel
        self.rest = STRIDE // (first * second)
        half = hidden // 2
        if fine and first * second != PACKED:
            raise ValueError(f"a fine scale needs a decoder that enlarges {PACKED} times")
        layers = (
            nn.Upsample(scale_factor=first, mode="bilinear"),
            conv_bn_relu(channels, hidden, 3),
            nn.Upsample(scale_factor=second, mode="bilinear"),
            conv_bn_relu(hidden + fine, half, 3),
            nn.Conv2d(half, half, 1),
        )
        self.vis = WithFineScale(*layers) if fine else nn.Sequential(*layers)
        self.txt = nn.Linear(text_width, half * kernel**2 + 1)

    def correlate(self, x: Tensor, tau: Tensor) -> Tensor:
        """S = W_τ * X + b_τ for X [B, C, h, w] and τ [B, d]: logits [B, 1, rest·h, rest·w].

        Either batch may be 1: one image with many sentences, or many images with one.
        """
        parameters = self.txt(tau)
        weight, bias = parameters[:, :-1], parameters[:, -1]
        # First a product over the channels for each of the K² taps, then the shifted sum of the taps: the
        # same numbers as a convolution with a kernel for each sample, at the price of one matrix product.
        taps = weight.reshape(len(tau), x.shape[1], -1).flip(2).transpose(1, 2).to(x.dtype)
        if len(x) == 1:  # many sentences on one image are one product
            products = (taps.flatten(0, 1) @ x[0].flatten(1)).unflatten(0, taps.shape[:2])
        else:
            products = taps @ x.flatten(2)
        logits = F.fold(products.float(), x.shape[2:], self.kernel, padding=self.kernel // 2)
        logits = logits + bias.float()[:, None, None, None]
        if self.rest > 1:
            logits = F.interpolate(logits, scale_factor=float(self.rest), mode="bilinear")
        return logits

    def forward(self, features: Tensor, tau: Tensor) -> Tensor:
        """Logits [B, 1, S, S] of fused features [B, C, S/16, S/16] and sentences [B, d]."""
        return self.correlate(self.vis(features), tau)


def dense_attention_pool(pool: AttentionPool2d, connect: nn.Module, x: Tensor) -> Tensor:
    """CLIP's attention pooling with every place as its own query, plus a 1×1 short cut, and ReLU.

    Parameters
    ----------
    pool : AttentionPool2d
        Whose projections are used; its position embeddings are interpolated to the size of `x`.
    connect : Module
        The short cut, [B, C, h, w] to [B, d, h, w].
    x : (B, C, h, w) Tensor
        Last stage of the image tower.

    Returns
    -------
    (B, d, h, w) Tensor
    """
    b, c, h, w = x.shape
    side = round((len(pool.positional_embedding) - 1) ** 0.5)
    grid = pool.positional_embedding[1:].T.reshape(1, c, side, side)
    grid = F.interpolate(grid, size=(h, w), mode="bicubic", align_corners=False)
    tokens = (x + grid.to(x.dtype)).flatten(2).transpose(1, 2)

    def heads(projection: nn.Module) -> Tensor:
        return projection(tokens).reshape(b, h * w, pool.num_heads, -1).transpose(1, 2)

    mixed = F.scaled_dot_product_attention(heads(pool.q_proj), heads(pool.k_proj), heads(pool.v_proj))
    mixed = pool.c_proj(mixed.transpose(1, 2).reshape(b, h * w, c))
    return F.relu(mixed.transpose(1, 2).reshape(b, -1, h, w) + connect(x))


class CausalCLIPSeg(nn.Module):
    """The network; see the module's text.

    Parameters
    ----------
    clip : str or mapping
        Backbone specification (see `models.backbones`); its image tower is CLIP's ResNet whose second
        stage has as many channels as its embedding (RN101: 512).
    upsampling : pair of int
        Of the decoders: (4, 4) as published, (2, 2) compact, at a quarter of the resolution.
    masker_channels, decoder_channels : int or None
        Inside the maskers and the decoders; None is the full width, as released.
    fine_channels : int
        Of a fourth scale at a quarter of the resolution, for sharper borders; 0 is none, as published. Ours.
    words : sequence of str or None
        A small vocabulary of its own for the text tower; None is CLIP's.
    context_length : int
        Tokens of a sentence (the paper: 20).
    """

    def __init__(
        self,
        clip: str | Mapping[str, Any],
        upsampling: Sequence[int] = (4, 4),
        masker_channels: int | None = None,
        decoder_channels: int | None = None,
        words: Sequence[str] | None = None,
        context_length: int = 20,
        fine_channels: int = 0,
        *,
        load_weights: bool = True,
    ) -> None:
        super().__init__()
        clip = dict(clip) if isinstance(clip, Mapping) else clip
        self.vocabulary = Vocabulary(words, context_length)
        self.config: dict[str, Any] = {
            "clip": clip_config(clip),
            "upsampling": list(upsampling),
            "masker_channels": masker_channels,
            "decoder_channels": decoder_channels,
            "words": list(words) if words is not None else None,
            "context_length": context_length,
            "fine_channels": fine_channels,
        }
        self.backbone = create_clip(clip, load_weights=load_weights)
        visual = modified_resnet(self.backbone)
        channels = int(self.config["clip"]["embed_dim"])
        width = visual.layer2[-1].conv3.out_channels
        if width != channels:
            raise ValueError(
                f"the second stage has {width} channels and the embedding {channels}; they must be equal"
            )
        last = visual.layer4[-1].conv3.out_channels
        self.connect = nn.Sequential(nn.Conv2d(last, channels, 1, bias=False), nn.BatchNorm2d(channels))
        stage4 = visual.layer3[-1].conv3.out_channels
        fine = None
        if fine_channels:
            stage2 = visual.layer1[-1].conv3.out_channels
            fine = FineScale(stage2, channels, fine_channels, Masker(fine_channels, fine_channels // 3))
        self.neck = CausalNeck(stage4, channels, masker_channels or channels, fine)
        hidden = decoder_channels or channels
        self.causal_decoder, self.confounder_decoder = (
            TextDecoder(channels, hidden, channels, upsampling, fine=fine_channels) for _ in range(2)
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> CausalCLIPSeg:
        """Build the network of a model card, with fresh weights and without a network connection.

        Raises
        ------
        ValueError, TypeError, ModelError
            When the configuration does not describe such a network.
        """
        return cls(**deepcopy(dict(config)), load_weights=False)

    @property
    def _clip(self) -> CLIP:
        return cast("CLIP", self.backbone)

    def tokenize(self, sentences: Sequence[str]) -> Tensor:
        """Sentences to int64 tokens [n, context_length], over-long ones cut but for their end token."""
        return self.vocabulary(sentences)

    def cast_image_path(self, dtype: torch.dtype) -> None:
        """Cast what `encode_image` multiplies by; the text tower and the dynamic kernel stay as they are."""
        for part in (modified_resnet(self.backbone), self.connect, self.neck, self.causal_decoder.vis):
            cast_products(part, dtype, (nn.Conv2d, nn.Linear))

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """v3, v4 and v5 at 1/8, 1/16 and 1/32 of the resolution of x [B, 3, S, S]; S divisible by 32.

        With a fine scale, v2 at 1/4 comes after them.
        """
        visual = modified_resnet(self.backbone)
        found = visual.forward_intermediates(x, indices=[1, 2, 3, 4], intermediates_only=True)
        v2, v3, v4, c5 = found["image_intermediates"]
        v5 = dense_attention_pool(visual.attnpool, self.connect, c5)
        return (v3, v4, v5) if self.neck.fine is None else (v3, v4, v5, v2)

    def separate(self, x: Tensor) -> Separated:
        """Causal and confounding features of x [B, 3, S, S], each [B, C, S/16, S/16].

        With a fine scale of k channels, C grows by 16 k: its places, packed.
        """
        return self.neck(*self.stages(x))

    def encode_image(self, x: Tensor) -> Tensor:
        """All of the causal branch that knows no text, to be cached: X [B, hidden/2, h, w].

        h = w = S for the published decoder, S/4 for the compact one.
        """
        return self.causal_decoder.vis(self.separate(x).causal)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """The sentence vector τ [B, d] of tokens [B, ≤ context_length]."""
        clip = self._clip
        ends = tokens.argmax(dim=1)  # the end token has the highest number
        if clip.text_pool_type != "argmax" or clip.attn_mask is None:
            context = int(self.config["clip"]["text_cfg"]["context_length"])
            return clip.encode_text(F.pad(tokens, (0, context - tokens.shape[1])))
        # A causal tower that answers at the end token never sees what follows it: it runs over the longest
        # sentence only, not over its whole context.
        used = int(ends.max()) + 1
        x = clip.token_embedding(tokens[:, :used]) + clip.positional_embedding[:used]
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:used, :used]))
        return x[torch.arange(len(x), device=x.device), ends] @ clip.text_projection

    def decode(self, x: Tensor, tau: Tensor) -> Tensor:
        """Logits [B, 1, S, S] for a cached X and sentences τ; either may have a batch of one."""
        return self.causal_decoder.correlate(x, tau)

    def masks(self, x: Tensor) -> list[Tensor]:
        """The three attention masks M [B, C, S/16, S/16], fine to coarse: the network's own explanation."""
        features = self.neck.align(*self.stages(x)[:3])
        return [masker(f) for masker, f in zip(self.neck.maskers, features, strict=True)]

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Causal and confounder logits, each [B, 1, S, S] (eq. 4's two predictions)."""
        separated = self.separate(x)
        tau = self.encode_text(tokens)
        return (
            self.causal_decoder(separated.causal, tau),
            self.confounder_decoder(separated.confounder, tau),
        )
