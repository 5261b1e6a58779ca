"""Which rows of CausalCLIPSeg's Tables 1 and 2 are compared, and how each is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from napari_clipmed.benchmark.accuracy.choice import chosen_rows
from napari_clipmed.benchmark.accuracy.encoders import Scale
from napari_clipmed.benchmark.accuracy.segmenters import (
    FilmDecoder,
    NestedUNet,
    Ours,
    Segmenter,
    SwinUNet,
    TextUNet,
    UNet,
    WordDecoder,
)
from napari_clipmed.training.segmentation_config import read_config

Build = Callable[[Mapping[str, Any], int], Segmenter]


@dataclass(frozen=True)
class CxrRow:
    """One line of a table.

    Parameters
    ----------
    key, title : str
        Its name on the command line, and for people.
    text : bool
        Whether it reads the sentence.
    table : int
        1: the paper's comparison, 2: its ablation.
    build : callable
        The network, of the configuration of `CausalCLIPSeg` and the width of a U-Net's first scale.
    """

    key: str
    title: str
    text: bool
    table: int
    build: Build


ROWS: dict[str, CxrRow] = {
    row.key: row
    for row in (
        CxrRow("unet", "U-Net", False, 1, lambda model, width: UNet(width)),
        CxrRow("unetpp", "U-Net++", False, 1, lambda model, width: NestedUNet(width)),
        CxrRow("attention-unet", "Attention U-Net", False, 1, lambda model, width: UNet(width, gates=True)),
        CxrRow(
            "swin-unet", "Swin encoder, U-Net decoder", False, 1, lambda model, width: SwinUNet(2 * width)
        ),
        CxrRow("blind", "ours without text", False, 1, lambda model, width: Ours(model, deaf=True)),
        CxrRow("lvit", "U-Net that looks at the words (LViT style)", True, 1, lambda m, w: TextUNet(w, m)),
        CxrRow("clipseg", "CLIPSeg-style decoder", True, 1, lambda model, width: FilmDecoder(model)),
        CxrRow("cris", "CRIS-style decoder", True, 1, lambda m, w: WordDecoder(m, m["upsampling"])),
        CxrRow("plain", "no causal module", True, 2, lambda m, w: Ours(m, "off", masked=False)),
        CxrRow("maskers", "causal module, no adversary", True, 2, lambda model, width: Ours(model, "off")),
        CxrRow("printed", "causal module, adversary as printed", True, 2, lambda m, w: Ours(m, "paper")),
        CxrRow("ours", "CausalCLIPSeg: gradient reversal", True, 1, lambda model, width: Ours(model)),
    )
}
IN_BOTH_TABLES = ("ours",)


def build(row: CxrRow, scale: Scale, size: int) -> Segmenter:
    """The network of a row, freshly drawn from torch's generator."""
    model = deepcopy(read_config(f"causal_clipseg_{scale}").model)
    if isinstance(model["clip"], str):
        model["clip"] = model["clip"].partition("@")[0]  # random weights, as all rows
    else:
        model["clip"]["vision_cfg"]["image_size"] = size
    model.setdefault("upsampling", [4, 4])
    return row.build(model, 16 if scale == "compact" else 64)


def rows_named(names: str) -> list[CxrRow]:
    """Those of `ROWS` that a person names, see `choice.chosen_rows`."""
    return chosen_rows(ROWS, names)
