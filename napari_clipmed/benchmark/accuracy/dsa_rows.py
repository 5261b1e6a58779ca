"""Which rows of CLIP-DSA's Tables 1 and 2 are compared, and how each is built. Nothing here is a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from napari_clipmed.benchmark.accuracy.contestants import (
    Classifier,
    Pooling,
    TextClassifier,
    clip_contestant,
    encoder_contestant,
)
from napari_clipmed.benchmark.accuracy.encoders import Scale
from napari_clipmed.errors import ClipmedError
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
    """Rows of a list of keys with commas between, in the order of `ROWS`; "all" for all.

    Raises
    ------
    ClipmedError
        For a key that there is not.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in ROWS and name != "all"]
    if unknown or not wanted:
        raise ClipmedError(
            f"There is no row {(unknown or [''])[0]!r}.", f"Choose all, or of {', '.join(ROWS)}."
        )
    return list(ROWS.values()) if "all" in wanted else [row for key, row in ROWS.items() if key in wanted]
