"""Networks that are compared on labelled angiograms, behind one face: a loss to train, logits to judge.

All have one encoder shared by both views and three heads (AP, LA, both), as section 3.2 of the CLIP-DSA
paper says of its baselines. Rows without text learn by cross-entropy, CLIP rows by eq. 6-8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_clipmed.benchmark.accuracy.encoders import ENCODERS, Scale
from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.backbones import clip_config
from napari_clipmed.models.clip_dsa import ClipDSA, Head
from napari_clipmed.models.clip_dsa_loss import ClipDSALoss
from napari_clipmed.models.labels import LabelSet

Pooling = Literal["avg", "max", "lstm", "gru", "tpm"]
HEADS: dict[str, Head] = {"AP": "ap", "LA": "la", "both": "mv"}
COMPACT_CLIP, PAPER_CLIP, PAPER_WEIGHTS = "clipmed-compact", "RN50-quickgelu", "openai"


class Contestant(Protocol):
    """What the trainer needs; runs are a mapping of "AP" and/or "LA" to (b, t, 3, S, S)."""

    def loss(self, runs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Mean loss of a batch, over the heads that its views allow."""

    def logits(self, runs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores (b, K) of each head that the views allow: "AP", "LA", "both"."""


class Classifier(nn.Module):
    """An encoder and three linear heads, trained by cross-entropy."""

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        width = cast("int", encoder.width)
        self.encoder = encoder
        self.heads = nn.ModuleDict(
            {
                "AP": nn.Linear(width, classes),
                "LA": nn.Linear(width, classes),
                "both": nn.Linear(2 * width, classes),
            }
        )

    def logits(self, runs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Contestant`."""
        features = {name: self.encoder(run).float() for name, run in runs.items()}
        if len(features) == 2:
            features["both"] = torch.cat([features["AP"], features["LA"]], dim=-1)
        return {name: self.heads[name](feature) for name, feature in features.items()}

    def loss(self, runs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """See `Contestant`."""
        each = [functional.cross_entropy(logits, labels) for logits in self.logits(runs).values()]
        return torch.stack(each).mean()


class FramePooling(nn.Module):
    """What stands in the place of the temporal pooling module in rows 4 and 6 to 8 of the paper's Table 2."""

    def __init__(self, kind: Pooling, width: int) -> None:
        super().__init__()
        self.kind = kind
        recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}.get(kind)
        self.recurrent = recurrent(width, width, batch_first=True) if recurrent is not None else None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Frame features (b, t, d) to one (b, d); the weights are even, since these poolings have none."""
        weights = features.new_full(features.shape[:2], 1 / features.shape[1])
        if self.recurrent is not None:
            return self.recurrent(features)[0][:, -1], weights
        return (features.amax(dim=1) if self.kind == "max" else features.mean(dim=1)), weights


class TextClassifier(nn.Module):
    """CLIP-DSA, or plain CLIP: image tower, a pooling over time, heads that answer in the space of sentences.

    Parameters
    ----------
    network : ClipDSA
    labels : LabelSet
    pooling : str
    views_agree : bool
        Whether L_mc counts.
    """

    def __init__(self, network: ClipDSA, labels: LabelSet, pooling: Pooling, views_agree: bool) -> None:
        super().__init__()
        if pooling != "tpm":
            width = network.tpm_ap.query.in_features
            network.tpm_ap = network.tpm_la = FramePooling(pooling, width)  # type: ignore[assignment]
        network.set_label_set(labels)
        network.visual.to(memory_format=torch.channels_last)
        self.network = network
        self.objective = ClipDSALoss("paper", "instance", 1.0 if views_agree else 0.0)

    def logits(self, runs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Contestant`."""
        output = self.network(runs.get("AP"), runs.get("LA"))
        vectors = {name: getattr(output, f"v_{head}") for name, head in HEADS.items()}
        return {
            name: self.network.logits(vector.float(), HEADS[name])
            for name, vector in vectors.items()
            if vector is not None
        }

    def loss(self, runs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """See `Contestant`."""
        output = self.network(runs.get("AP"), runs.get("LA"))
        return self.objective(self.network, output, labels)["total"]


def clip_contestant(
    labels: LabelSet, pooling: Pooling, views_agree: bool, scale: Scale, size: int, pretrained: bool
) -> TextClassifier:
    """A CLIP row: CLIP's RN50 at paper scale, the compact tower of this package otherwise.

    Raises
    ------
    ClipmedError
        When pre-trained weights are wanted for another size than theirs.
    """
    spec = COMPACT_CLIP if scale == "compact" else PAPER_CLIP
    config = clip_config(spec)
    fits = config["vision_cfg"]["image_size"] == size
    if pretrained and scale == "paper":
        if not fits:
            raise ClipmedError(f"CLIP's weights are not for {size} pixels.", "Use --size 224.")
        spec = f"{PAPER_CLIP}@{PAPER_WEIGHTS}"
    config["vision_cfg"]["image_size"] = size
    network = ClipDSA(spec if fits else config, True, len(labels.labels))
    return TextClassifier(network, labels, pooling, views_agree)


def encoder_contestant(
    name: str, labels: LabelSet, scale: Scale, size: int, frames: int, pretrained: bool
) -> Classifier:
    """A row without text."""
    return Classifier(ENCODERS[name](scale, size, frames, pretrained), len(labels.labels))
