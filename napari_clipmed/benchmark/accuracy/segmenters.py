"""Networks that CausalCLIPSeg is compared with: a page of code each, from their papers, of one size.

Those with text read it by the same small tower as ours, so that they differ by where the sentence meets the
picture. They are of the family of the published networks, not replicas, and start from random weights.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_clipmed.models.causal_clipseg import CausalCLIPSeg, TextDecoder
from napari_clipmed.models.causal_clipseg_loss import ObjectiveConfig, adversarial_losses, segmentation_loss
from napari_clipmed.models.prompts import GENERIC

_swin = importlib.import_module("torchvision.models.swin_transformer")

DICE = 0.5
"""Weight of the soft Dice term beside the cross-entropy, for every row."""


class Segmenter(nn.Module):
    """What the trainer needs: logits [B, 1, S, S] of pictures [B, 3, S, S] and sentences, and a loss."""

    def logits(self, x: Tensor, sentences: Sequence[str]) -> Tensor:
        """Logits [B, 1, S, S]."""
        raise NotImplementedError

    def loss(self, x: Tensor, sentences: Sequence[str], masks: Tensor) -> Tensor:
        """Cross-entropy and soft Dice of a batch."""
        return segmentation_loss(self.logits(x, sentences).float(), masks, DICE)


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3×3 convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [
            nn.Conv2d(before, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(True),
        ]
    return nn.Sequential(*layers)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")


class UNet(Segmenter):
    """U-Net (Ronneberger et al. 2015); with `gates`, Attention U-Net (Oktay et al. 2018, eq. 1-2)."""

    def __init__(self, width: int, gates: bool = False, depth: int = 5) -> None:
        super().__init__()
        sizes = [width * 2**k for k in range(depth)]
        self.down = nn.ModuleList(double_conv(a, b) for a, b in zip([3, *sizes[:-1]], sizes, strict=True))
        self.up = nn.ModuleList(
            double_conv(a + b, b) for a, b in zip(sizes[:0:-1], sizes[-2::-1], strict=True)
        )
        self.gates = nn.ModuleList(
            AttentionGate(a, b) if gates else nn.Identity()
            for a, b in zip(sizes[:0:-1], sizes[-2::-1], strict=True)
        )
        self.sizes, self.head = sizes, nn.Conv2d(width, 1, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Features of every scale, fine to coarse."""
        found = []
        for k, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if k else x)
            found.append(x)
        return found

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Features of every scale to logits."""
        x = features[-1]
        for block, gate, skip in zip(self.up, self.gates, features[-2::-1], strict=True):
            x = _twice(x)
            x = block(torch.cat([x, gate(skip, x) if isinstance(gate, AttentionGate) else skip], dim=1))
        return self.head(x)

    def logits(self, x: Tensor, sentences: Sequence[str]) -> Tensor:
        """The picture alone decides."""
        return self.decode(self.encode(x))


class AttentionGate(nn.Module):
    """Lets through what the coarser features ask for."""

    def __init__(self, coarse: int, skip: int) -> None:
        super().__init__()
        self.ask, self.look = nn.Conv2d(coarse, skip, 1), nn.Conv2d(skip, skip, 1, bias=False)
        self.weigh = nn.Conv2d(skip, 1, 1)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """Both at the size of the skip."""
        return skip * self.weigh(F.relu(self.ask(coarse) + self.look(skip))).sigmoid()


class NestedUNet(Segmenter):
    """U-Net++ (Zhou et al. 2018): each scale is refined by all finer nodes' coarser neighbours (eq. 1)."""

    def __init__(self, width: int, depth: int = 5) -> None:
        super().__init__()
        sizes = [width * 2**k for k in range(depth)]
        self.depth, self.head = depth, nn.Conv2d(width, 1, 1)
        self.nodes = nn.ModuleDict()
        for j in range(depth):
            for i in range(depth - j):
                inputs = (sizes[i - 1] if i else 3) if j == 0 else j * sizes[i] + sizes[i + 1]
                self.nodes[f"{i},{j}"] = double_conv(inputs, sizes[i])

    def logits(self, x: Tensor, sentences: Sequence[str]) -> Tensor:
        """The picture alone decides."""
        found: dict[tuple[int, int], Tensor] = {}
        for j in range(self.depth):
            for i in range(self.depth - j):
                if j == 0:
                    given = F.max_pool2d(found[i - 1, 0], 2) if i else x
                else:
                    given = torch.cat([*(found[i, k] for k in range(j)), _twice(found[i + 1, j - 1])], dim=1)
                found[i, j] = self.nodes[f"{i},{j}"](given)
        return self.head(found[0, self.depth - 1])


class SwinUNet(Segmenter):
    """A Swin encoder of torchvision with skips to a convolutional decoder (after Cao et al. 2022)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = _swin.SwinTransformer([4, 4], width, [2, 2, 2, 2], [1, 2, 4, 8], [7, 7])
        self.encoder.norm, self.encoder.head = nn.Identity(), nn.Identity()
        sizes = [width * 2**k for k in range(4)]
        self.up = nn.ModuleList(
            double_conv(a + b, b) for a, b in zip(sizes[:0:-1], sizes[-2::-1], strict=True)
        )
        self.last = double_conv(width, width)
        self.head = nn.Conv2d(width, 1, 1)

    def logits(self, x: Tensor, sentences: Sequence[str]) -> Tensor:
        """The picture alone decides."""
        found = []
        y = x
        for k, layer in enumerate(self.encoder.features):
            y = layer(y)
            if k % 2:  # after each stage; between them patches are merged
                found.append(y.permute(0, 3, 1, 2))
        y = found[-1]
        for block, skip in zip(self.up, found[-2::-1], strict=True):
            y = block(torch.cat([F.interpolate(y, skip.shape[2:], mode="bilinear"), skip], dim=1))
        return F.interpolate(self.head(self.last(_twice(y))), x.shape[2:], mode="bilinear")


class Ours(Segmenter):
    """CausalCLIPSeg.

    Parameters
    ----------
    model : mapping
        Of `CausalCLIPSeg`.
    adversary : str
        See `ObjectiveConfig`.
    masked : bool
        False: no causal module, all features go on.
    deaf : bool
        Every sentence is the same: the twin without text.
    """

    def __init__(
        self, model: Mapping[str, Any], adversary: str = "grl", masked: bool = True, deaf: bool = False
    ) -> None:
        super().__init__()
        self.network = CausalCLIPSeg(**model, load_weights=False)
        if not masked:
            self.network.neck.maskers = nn.ModuleList(_Everything() for _ in range(3))
        self.objective = ObjectiveConfig(adversary=adversary, dice=DICE)  # type: ignore[arg-type]
        self.deaf = deaf

    def tokens(self, x: Tensor, sentences: Sequence[str]) -> Tensor:
        """What the text tower reads."""
        read = [GENERIC] * len(sentences) if self.deaf else list(sentences)
        return self.network.tokenize(read).to(x.device)

    def logits(self, x: Tensor, sentences: Sequence[str]) -> Tensor:
        """Those of the causal branch."""
        tau = self.network.encode_text(self.tokens(x, sentences))
        return self.network.decode(self.network.encode_image(x), tau)

    def loss(self, x: Tensor, sentences: Sequence[str], masks: Tensor) -> Tensor:
        """Eq. 3 and 4, as the adversary says."""
        return adversarial_losses(self.network, x, self.tokens(x, sentences), masks, self.objective).total


class _Everything(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        """A mask that lets all through."""
        return torch.ones_like(features)


class Reader(nn.Module):
    """Image stages, words and sentence of the towers that ours has."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = CausalCLIPSeg(**model, load_weights=False)
        self.width = int(self.network.config["clip"]["embed_dim"])
        del self.network.confounder_decoder, self.network.neck.maskers, self.network.causal_decoder

    def words(self, x: Tensor, sentences: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Words (B, n, d), which places hold none (B, n), and the sentence (B, d)."""
        tokens = self.network.tokenize(list(sentences)).to(x.device)
        clip: Any = self.network.backbone
        n = tokens.shape[1]
        y = clip.token_embedding(tokens) + clip.positional_embedding[:n]
        y = clip.ln_final(clip.transformer(y, attn_mask=clip.attn_mask[:n, :n])) @ clip.text_projection
        ends = tokens.argmax(dim=1)
        beyond = torch.arange(n, device=x.device)[None] > ends[:, None]
        return y, beyond, y[torch.arange(len(y), device=x.device), ends]

    def fused(self, x: Tensor) -> Tensor:
        """Image stages at 1/16, added up through the neck's own convolutions: [B, d, S/16, S/16]."""
        v3, v4, v5 = self.network.neck.align(*self.network.stages(x)[:3])
        return self.network.neck.aggregate(torch.cat([v3, v4, v5], dim=1))


class TextUNet(Segmenter):
    """U-Net in which pixels of the three coarse scales look at the words (LViT, Li et al. 2023)."""

    def __init__(self, width: int, model: Mapping[str, Any]) -> None:
        super().__init__()
        self.body, self.reader = UNet(width), Reader(model)
        sizes = self.body.sizes[-3:]
        self.read = nn.ModuleList(nn.Linear(self.reader.width, size) for size in sizes)
        self.look = nn.ModuleList(nn.MultiheadAttention(size, 4, batch_first=True) for size in sizes)

    def logits(self, x: Tensor, sentences: Sequence[str]) -> Tensor:
        """Picture and words decide."""
        words, beyond, _ = self.reader.words(x, sentences)
        features = self.body.encode(x)
        for k, (read, look) in enumerate(zip(self.read, self.look, strict=True), start=len(features) - 3):
            pixels = features[k].flatten(2).transpose(1, 2)
            keys = read(words)
            seen, _ = look(pixels, keys, keys, key_padding_mask=beyond, need_weights=False)
            features[k] = features[k] + seen.transpose(1, 2).unflatten(2, features[k].shape[2:])
        return self.body.decode(features)


class FilmDecoder(Segmenter):
    """CLIPSeg's decoder (Lüddecke and Ecker 2022): FiLM by the sentence, transformer, enlarged."""

    def __init__(self, model: Mapping[str, Any], width: int = 64) -> None:
        super().__init__()
        self.reader = Reader(model)
        self.reduce = nn.Conv2d(self.reader.width, width, 1)
        self.scale, self.shift = (nn.Linear(self.reader.width, width) for _ in range(2))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True, dropout=0.0)
        self.mix = nn.TransformerEncoder(layer, 3)
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(width, width, 4, stride=4),
            nn.ReLU(True),
            nn.ConvTranspose2d(width, 1, 4, stride=4),
        )

    def logits(self, x: Tensor, sentences: Sequence[str]) -> Tensor:
        """Picture and sentence decide."""
        *_, tau = self.reader.words(x, sentences)
        features = self.reduce(self.reader.fused(x))
        features = self.scale(tau)[:, :, None, None] * features + self.shift(tau)[:, :, None, None]
        mixed = self.mix(features.flatten(2).transpose(1, 2))
        return self.enlarge(mixed.transpose(1, 2).unflatten(2, features.shape[2:]))


class WordDecoder(Segmenter):
    """CRIS's decoder (Wang et al. 2022): pixels look at pixels and words; the sentence is a kernel."""

    def __init__(self, model: Mapping[str, Any], upsampling: Sequence[int] = (2, 2)) -> None:
        super().__init__()
        self.reader = Reader(model)
        width = self.reader.width
        self.gate = nn.Linear(width, width)
        layer = nn.TransformerDecoderLayer(width, 4, 2 * width, batch_first=True, dropout=0.0)
        self.mix = nn.TransformerDecoder(layer, 2)
        self.project = TextDecoder(width, int(model.get("decoder_channels") or width), width, upsampling)

    def logits(self, x: Tensor, sentences: Sequence[str]) -> Tensor:
        """Picture, words and sentence decide."""
        words, beyond, tau = self.reader.words(x, sentences)
        features = self.reader.fused(x) * self.gate(tau).sigmoid()[:, :, None, None]
        mixed = self.mix(features.flatten(2).transpose(1, 2), words, memory_key_padding_mask=beyond)
        return self.project(mixed.transpose(1, 2).unflatten(2, features.shape[2:]), tau)
