"""Which rows of CLIP-DSA's Tables 1 and 2 are compared, and how each is built. Nothing here is a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from napari_clipmed.benchmark.accuracy.choice import chosen_rows
from napari_clipmed.benchmark.accuracy.contestants import (
    Classifier,
    Pooling,
    TextClassifier,
    clip_contestant,
    encoder_contestant,
)
from napari_clipmed.benchmark.accuracy.encoders import Scale
from napari_clipmed.models.labels import LabelSet


@dataclass(frozen=True)
class DsaRow:
    """One line of a table.

    Parameters
    ----------
    key : str
        Its name on the command line.
    title, family : str
        For people.
    table : int
        1: the paper's comparison, 2: its ablation.
    pooling : str
        Of a CLIP row; empty for a row without text.
    views_agree : bool
        Whether L_mc counts.
    """

    key: str
    title: str
    family: str
    table: int
    pooling: str = ""
    views_agree: bool = False

    def build(
        self, labels: LabelSet, scale: Scale, size: int, frames: int, pretrained: bool
    ) -> Classifier | TextClassifier:
        """The network, freshly drawn from torch's generator."""
        if self.pooling:
            pooling = cast("Pooling", self.pooling)
            return clip_contestant(labels, pooling, self.views_agree, scale, size, pretrained)
        return encoder_contestant(self.key, labels, scale, size, frames, pretrained)


ROWS: dict[str, DsaRow] = {
    row.key: row
    for row in (
        DsaRow("resnet50", "ResNet50, frames averaged", "2D", 1),
        DsaRow("swin", "Swin, frames averaged", "2D", 1),
        DsaRow("mittmann", "CNN + bidirectional GRU (Mittmann style)", "RNN", 1),
        DsaRow("hu", "CNN + 3D + bidirectional ConvGRU (Hu style)", "RNN", 1),
        DsaRow("r3d", "R3D", "3D", 1),
        DsaRow("s3d", "S3D", "3D", 1),
        DsaRow("mvit", "MViT", "3D", 1),
        DsaRow("swin3d", "Swin3D", "3D", 1),
        DsaRow("clip", "average pooling", "CLIP", 1, "avg"),
        DsaRow("clip-max", "maximum", "CLIP", 2, "max"),
        DsaRow("clip-lstm", "LSTM", "CLIP", 2, "lstm"),
        DsaRow("clip-gru", "GRU", "CLIP", 2, "gru"),
        DsaRow("clip-tpm", "TPM", "CLIP", 2, "tpm"),
        DsaRow("clip-mc", "average, L_mc", "CLIP", 2, "avg", True),
        DsaRow("clip-max-mc", "maximum, L_mc", "CLIP", 2, "max", True),
        DsaRow("clip-lstm-mc", "LSTM, L_mc", "CLIP", 2, "lstm", True),
        DsaRow("clip-gru-mc", "GRU, L_mc", "CLIP", 2, "gru", True),
        DsaRow("clip-dsa", "CLIP-DSA: TPM, L_mc", "CLIP", 1, "tpm", True),
    )
}
"""All rows by their key. HowTo100M is left out: what makes it is pre-training on its videos."""

IN_BOTH_TABLES = ("clip", "clip-dsa")


def rows_named(names: str) -> list[DsaRow]:
    """Those of `ROWS` that a person names, see `choice.chosen_rows`."""
    return chosen_rows(ROWS, names)
