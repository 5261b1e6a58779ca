"""The backbones that are offered by name, and what a person should know of one before using it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from napari_clipmed.errors import ModelError
from napari_clipmed.progress import Progress
from napari_clipmed.shipped import resource

SHIPPED_BACKBONE = "clip-compact"
"""The towers that come with the program: a folder of ``resources/backbones``, no network is needed."""


@dataclass(frozen=True)
class KnownBackbone:
    """An entry of ``resources/backbones/known.yaml``.

    Parameters
    ----------
    spec, title : str
        See `models.backbones`; name for people.
    learned_from, licence, remark : str
    needs : str
        A Python package that it needs and we do not install; empty for none.
    """

    spec: str
    title: str
    learned_from: str = ""
    licence: str = ""
    needs: str = ""
    remark: str = ""

    @property
    def lacks(self) -> str:
        """The package that it needs and that is not installed; empty when it can be used."""
        return self.needs if self.needs and find_spec(self.needs) is None else ""

    def describe(self, here: bool) -> str:
        """A few lines for a tooltip or a terminal."""
        state = "On this computer" if here else "Downloaded from the hub when first used"
        lines = [
            self.remark,
            f"Learned from {self.learned_from}" if self.learned_from else "",
            f"Licence: {self.licence}" if self.licence else "",
            f"Needs the package {self.lacks}, which is not installed" if self.lacks else state,
        ]
        return "\n".join(line for line in lines if line)


@cache
def known_backbones() -> tuple[KnownBackbone, ...]:
    """All entries, in the order of the file."""
    content = yaml.safe_load(resource("backbones", "known.yaml").read_text(encoding="utf-8"))
    return tuple(KnownBackbone(**entry) for entry in content["backbones"])


def licence_of(spec: str) -> str:
    """The licence of a backbone's weights, as the list or its own folder states it; empty where none does."""
    from napari_clipmed.models.backbone_own import own_facts
    from napari_clipmed.models.backbone_source import read_name

    stated = next((entry.licence for entry in known_backbones() if entry.spec == spec), "")
    read = read_name(spec)
    if not stated and read.origin == "folder":
        stated = str(own_facts(Path(read.name)).get("licence", ""))[:200]
    return stated


def describe_backbone(spec: str, *, weights: bool, progress: Progress | None = None) -> dict[str, Any]:
    """What a backbone is, as plain values: towers, sizes, how pictures are prepared, what is to be said.

    Parameters
    ----------
    spec : str
    weights : bool
        Also load the weights (and download them), to see that they fit.
    progress : Progress, optional

    Raises
    ------
    ModelError
    """
    import torch

    from napari_clipmed.models.backbone_source import find_source, is_here, shown_name
    from napari_clipmed.models.backbones import count_parameters, create_from

    source = find_source(spec, weights=weights, progress=progress)
    with torch.device("cpu" if weights else "meta"):
        model = create_from(source)
    visual: Any = model.visual
    known = next((entry for entry in known_backbones() if entry.spec == spec), None)
    return {
        "spec": shown_name(spec),
        "title": known.title if known else source.title,
        "origin": source.origin,
        "here": is_here(spec),
        "image_tower": type(visual).__name__,
        "image_size": image_side(visual),
        "embedding": source.config["embed_dim"],
        "text_tower": source.config["text_cfg"].get("hf_model_name") or "CLIP",
        "context_length": source.config["text_cfg"].get("context_length", 77),
        "quick_gelu": bool(source.config.get("quick_gelu")),
        "parameters": count_parameters(model),
        "mean": list(source.preprocess["mean"]),
        "std": list(source.preprocess["std"]),
        "licence": licence_of(spec),
        "learned_from": known.learned_from if known else "",
        "trains": list(_trains(visual, source.config["embed_dim"])),
        "notes": list(source.notes),
    }


def image_side(visual: Any) -> int:
    """Side of the square pictures that an image tower reads, in pixels."""
    size = visual.image_size
    return int(size if isinstance(size, int) else size[0])


def _trains(visual: Any, embedding: int) -> Iterator[str]:
    """Which of our networks can stand on an image tower."""
    from open_clip.modified_resnet import ModifiedResNet

    if isinstance(visual, ModifiedResNet):
        yield "clip-dsa"
        if visual.layer2[-1].conv3.out_channels == embedding:
            yield "causal-clipseg"


def check_usable(spec: str) -> None:
    """Refuse a specification without weights where sentences must mean something.

    Raises
    ------
    ModelError
    """
    from napari_clipmed.models.backbone_source import read_name

    if not spec.strip():
        raise ModelError("No backbone was named.", "See `napari-clipmed models backbones`.")
    if read_name(spec).origin == "random":
        raise ModelError(
            f"{spec} has random weights: it has not learned what any sentence means.",
            f"Name its weights, {spec}:TAG or {spec}@FILE; see `napari-clipmed models backbones`.",
        )
