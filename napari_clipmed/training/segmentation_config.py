"""The configuration file of a CausalCLIPSeg training run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.causal_clipseg_loss import ObjectiveConfig
from napari_clipmed.shipped import resource
from napari_clipmed.training.run_options import Overrides, RunOptions, with_moved_entries
from napari_clipmed.training.sentence_variation import VariationConfig

SHIPPED = resource("configs")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Augmentation(_Section):
    """What happens to training pictures: amounts, 0 for none.

    `flip` is a probability (the sentence's left and right are exchanged too); rotation in degrees, scale and
    shift as fractions, gamma and contrast as half widths on a logarithmic scale.
    """

    flip: float = 0.0
    degrees: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    gamma: float = 0.0
    contrast: float = 0.0


class Optimisation(_Section):
    """Optimiser and schedule.

    The learning rate rises over `warmup` of the run and falls as a cosine to its end, which is `max_epochs`
    or `max_minutes`, whichever comes first. `sizes` are pairs (from which fraction of the run, side of the
    input). `average` is the decay of the running mean of the weights; 0 for none.
    """

    optimiser: Literal["adam", "adamw"] = "adam"
    lr: float = 3e-5
    weight_decay: float = 0.0
    warmup: float = 0.0
    batch_size: int = 32
    max_epochs: int = 2000
    max_minutes: float | None = None
    average: float = 0.0
    clip_gradient: float = 0.0
    sizes: tuple[tuple[float, int], ...] = ()

    def rate(self, fraction: float) -> float:
        """The learning rate at a share of the training in [0, 1]."""
        return self.lr * learning_rate_factor(fraction, self.warmup)


def learning_rate_factor(fraction: float, warmup: float) -> float:
    """Linear rise to 1 at `warmup`, then a cosine down to 0 at 1."""
    if fraction < warmup:
        return max(fraction / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (fraction - warmup) / (1 - warmup)))


class SegmentationConfig(_Section):
    """Everything that decides a training run, but the data.

    `selection` is the fraction of the training patients that is set aside to choose the epoch; with 0 the
    validation split chooses, as in the paper.
    """

    id: str
    title: str
    model: dict[str, Any]
    preprocessing: Preprocessing = Field(default_factory=lambda: Preprocessing(fit="squash"))
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    sentences: VariationConfig = Field(default_factory=VariationConfig)
    augmentation: Augmentation = Augmentation()
    optimisation: Optimisation = Optimisation()
    selection: float = 0.0
    seed: int = 0
    run: RunOptions = RunOptions()

    @model_validator(mode="before")
    @classmethod
    def _older_words(cls, content: Any) -> Any:
        older = {"32-true": "fp32", "bf16-mixed": "bf16", "16-mixed": "fp16"}
        if isinstance(content, Mapping) and content.get("precision") in older:
            content = {**content, "precision": older[content["precision"]]}
        return with_moved_entries(content, {"precision": "precision", "threads": "threads"})

    def overridden(self, by: Overrides) -> SegmentationConfig:
        """The configuration with what a person asked for beside it."""
        changes = by.among(epochs="max_epochs", minutes="max_minutes", batch="batch_size")
        optimisation = self.optimisation.model_copy(update=changes)
        update = {"optimisation": optimisation, "run": by.applied_to(self.run)} | by.among(seed="seed")
        return self.model_copy(update=update)

    def on_backbone(self, spec: str) -> SegmentationConfig:
        """The configuration on another backbone, read with its whole vocabulary; empty leaves its own."""
        if not spec:
            return self
        return self.model_copy(update={"model": self.model | {"clip": spec, "words": None}})


def read_config(name: str | Path) -> SegmentationConfig:
    """Read a YAML file, or a shipped configuration by its name.

    Raises
    ------
    ClipmedError
        When it cannot be read or does not fit; the sentence names the entry.
    """
    path = Path(name)
    shipped = SHIPPED / f"{path.name.removesuffix('.yaml')}.yaml"
    if not path.exists() and path.parent == Path() and shipped.exists():
        path = shipped
    try:
        return SegmentationConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ClipmedError(f"The configuration {path} cannot be read ({error.strerror}).") from error
    except yaml.YAMLError as error:
        raise ClipmedError(f"The configuration {path} is no valid YAML.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ClipmedError(f"The configuration {path} does not fit: {where}: {first['msg']}.") from error
